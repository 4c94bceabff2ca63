package lab

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/cgroup"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

func TestTheDeploymentSaysHowKubeOVNControllerRuns(t *testing.T) {
	l := &Lab{name: "x", tree: cgroup.Tree{Name: "ccmlab-x"}}
	units := l.ovn(t.TempDir())
	i := slices.IndexFunc(units, func(u unit.Unit) bool { return u.Name == kubeOVNController })
	own := units[i].Commands[0]
	for _, further := range [][]string{nil, {"--enable-lb-svc=true", `--odd="\\ '`}} {
		b, err := l.kubeOVNDeployment(further)
		if err != nil {
			t.Fatal(err)
		}
		var d appsv1.Deployment
		if err := yaml.UnmarshalStrict(b, &d); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if *d.Spec.Replicas != 0 {
			t.Errorf("%d replicas would run beside the process", *d.Spec.Replicas)
		}
		c := d.Spec.Template.Spec.Containers[0]
		if got, want := slices.Concat(c.Command, c.Args), slices.Concat(own, further); !slices.Equal(got, want) {
			t.Errorf("it says %q, the process has %q", got, want)
		}
	}
}
