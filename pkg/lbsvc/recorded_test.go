package lbsvc

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// longName is the recorded Service whose name is too long for a label with
// "lb-svc-" before it.
const longName = "a-service-whose-name-is-longer-than-most-others-in-the-world"

// TestTheGatewaysOfEveryVersionAreKnown reads the Deployments that each version's
// controller has made of the same Services with lb-svc switched on. Up to v1.12
// it serves every Service of type LoadBalancer; later ones, those with the
// annotation. Up to v1.15 it fails at names that are too long for a label; v1.14.41 died of
// one.
func TestTheGatewaysOfEveryVersionAreKnown(t *testing.T) {
	all, err := recorded.Ran()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			if v.Died != (v.Name == "v1.14.41") {
				t.Errorf("it died: %t", v.Died)
			}
			found := map[string]bool{}
			for _, u := range v.LBSvc {
				if u.GetKind() != "Deployment" {
					continue
				}
				d := &appsv1.Deployment{}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, d); err != nil {
					t.Fatal(err)
				}
				service, theirs := ServiceOf("default", d.Spec.Template.ObjectMeta, d.Spec.Template.Spec)
				if selected := Selector().Matches(labels.Set(d.Spec.Template.Labels)); selected != theirs || theirs != (d.Name != "lb-svc-ours") {
					t.Errorf("Deployment %s is Kube-OVN's: %t, and selected: %t", d.Name, theirs, selected)
				}
				if theirs && d.Name != DeploymentName(service) {
					t.Errorf("Deployment %s is for Service %s", d.Name, service)
				}
				found[service] = true
			}
			for service, want := range map[string]bool{"guide": true, "last": true, "plain": v.Before(13), longName: !v.Before(16)} {
				if found[service] != want {
					t.Errorf("it has made a gateway for Service %s: %t", service, found[service])
				}
				s := &corev1.Service{}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(recorded.Object(v.LBSvc, "Service", service).Object, s); err != nil {
					t.Fatal(err)
				}
				if Serves(s) != (service != "plain") {
					t.Errorf("Service %s counts as Kube-OVN's: %t", service, Serves(s))
				}
			}
		})
	}
}
