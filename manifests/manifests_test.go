// Package manifests holds what is installed into a cluster; the tests here see
// to it that it stays as little as it can be.
package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// documents reads the documents of a YAML file that have the given kind.
func documents[T any](t *testing.T, path, kind string) []T {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	for d := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := d.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var head struct{ Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if head.Kind != kind {
			continue
		}
		var obj T
		if err := yaml.UnmarshalStrict(doc, &obj); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, obj)
	}
}

// allowed flattens rules to "group resource names": "verb verb".
func allowed(rules []rbacv1.PolicyRule) map[string]string {
	m := map[string]string{}
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				name := strings.Join(rule.ResourceNames, " ")
				m[strings.TrimSpace(group+" "+resource+" "+name)] = strings.Join(rule.Verbs, " ")
			}
		}
	}
	return m
}

func TestRBACIsWhatIsUsedAndNoMore(t *testing.T) {
	roles := documents[rbacv1.ClusterRole](t, "base/rbac.yaml", "ClusterRole")
	if len(roles) != 1 {
		t.Fatalf("%d ClusterRoles", len(roles))
	}
	want := map[string]string{
		"services":                        "get list watch",
		"services/status":                 "patch",
		"nodes":                           "list watch",
		"events":                          "create patch list watch",
		"pods":                            "list watch patch",
		"configmaps":                      "get list watch create patch delete",
		"discovery.k8s.io endpointslices": "list watch",
		"apps deployments":                "get list watch create patch delete",
		"apps replicasets":                "list watch",
		"kubeovn.io subnets":              "list watch",
		"kubeovn.io ips":                  "list watch",
		"kubeovn.io ippools":              "list watch",
		"kubeovn.io vips":                 "get list watch create delete patch",
		"kubeovn.io vpcs":                 "get list watch update",
		"k8s.cni.cncf.io network-attachment-definitions": "list watch create patch delete",
	}
	if diff := cmp.Diff(want, allowed(roles[0].Rules)); diff != "" {
		t.Errorf("ClusterRole (-want +got):\n%s", diff)
	}
	lease := documents[rbacv1.Role](t, "base/rbac.yaml", "Role")
	want = map[string]string{
		"coordination.k8s.io leases":              "create",
		"coordination.k8s.io leases kube-ovn-ccm": "get update",
	}
	if diff := cmp.Diff(want, allowed(lease[0].Rules)); diff != "" {
		t.Errorf("Role (-want +got):\n%s", diff)
	}
	want = map[string]string{"coordination.k8s.io leases kube-ovn-controller": "get"}
	if diff := cmp.Diff(want, allowed(lease[1].Rules)); diff != "" {
		t.Errorf("Role for Kube-OVN's Lease (-want +got):\n%s", diff)
	}
}

func TestEveryVerbHasAReason(t *testing.T) {
	raw, err := os.ReadFile("base/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(raw), "\n") {
		verb := strings.HasPrefix(line, "  - ") && !strings.Contains(line, ":")
		if verb && !strings.Contains(line, "# ") {
			t.Errorf("rbac.yaml:%d: %q has no reason", i+1, line)
		}
	}
}

func TestControllerRunsUnprivilegedAndRedundant(t *testing.T) {
	d := documents[appsv1.Deployment](t, "base/deployment.yaml", "Deployment")[0]
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	for what, holds := range map[string]bool{
		"two replicas":                 *d.Spec.Replicas == 2,
		"not root":                     *pod.SecurityContext.RunAsNonRoot,
		"seccomp":                      pod.SecurityContext.SeccompProfile.Type == v1.SeccompProfileTypeRuntimeDefault,
		"read-only root":               *c.SecurityContext.ReadOnlyRootFilesystem,
		"no privilege escalation":      !*c.SecurityContext.AllowPrivilegeEscalation,
		"no capabilities":              cmp.Equal(c.SecurityContext.Capabilities, &v1.Capabilities{Drop: []v1.Capability{"ALL"}}),
		"no host network":              !pod.HostNetwork,
		"priority":                     pod.PriorityClassName == "system-cluster-critical",
		"health checks":                c.LivenessProbe != nil && c.ReadinessProbe != nil,
		"the labels that are selected": d.Spec.Template.Labels["app.kubernetes.io/name"] == d.Spec.Selector.MatchLabels["app.kubernetes.io/name"],
	} {
		if !holds {
			t.Errorf("it lacks: %s", what)
		}
	}
}

func TestCloudConfigsCanBeRead(t *testing.T) {
	for path, attachment := range map[string]string{
		"base/cloud-config.yaml":                          "",
		"components/default-attachment/cloud-config.yaml": "lb-svc-attachment.kube-system",
	} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := loadbalancer.ParseConfig(bytes.NewReader(raw), "v0.1.0")
		if err != nil || cfg.DefaultAttachment != attachment {
			t.Errorf("%s: attachment %q, %v", path, cfg.DefaultAttachment, err)
		}
	}
}

func TestCommentsInCloudConfigAreRight(t *testing.T) {
	raw, err := os.ReadFile("base/cloud-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ")
		if field, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.Contains(field, " ") {
			lines = append(lines, line)
		}
	}
	cfg, err := loadbalancer.ParseConfig(strings.NewReader(strings.Join(lines, "\n")), "v0.1.0")
	if err != nil {
		t.Fatalf("the commented fields cannot be read: %v", err)
	}
	defaults, err := loadbalancer.ParseConfig(nil, "v0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Gateway.Image != defaults.Gateway.Image || cfg.Gateway.ImagePullPolicy != defaults.Gateway.ImagePullPolicy {
		t.Errorf("%+v is not the default %+v", cfg.Gateway, defaults.Gateway)
	}
}

func TestKustomizationsNameFilesThatAreThere(t *testing.T) {
	kustomizations, err := filepath.Glob("*/*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(kustomizations, "base/kustomization.yaml") {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var k struct {
			Resources          []string
			ConfigMapGenerator []struct{ Files []string }
		}
		if err := yaml.Unmarshal(raw, &k); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, g := range k.ConfigMapGenerator {
			k.Resources = append(k.Resources, g.Files...)
		}
		if len(k.Resources) == 0 {
			t.Errorf("%s has no resources", path)
		}
		for _, file := range k.Resources {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), file)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
