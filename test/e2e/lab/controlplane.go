package lab

import (
	"os"
	"path/filepath"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

// DNSCommand is the (hidden) command of cmd/lab that runs the cluster's DNS server; its arguments are the address to
// listen on and a kubeconfig.
const DNSCommand = "cluster-dns"

// controlPlane returns the programs of the control plane and writes what they read.
func (l *Lab) controlPlane() ([]unit.Unit, error) {
	dir := l.path(ControlPlane)
	for _, d := range []string{"manifests", "ovn", "certs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := renderTo(filepath.Join(dir, "manifests"), "dns.yaml", map[string]string{"DNS": dnsServiceIP, "Control": controlIP}); err != nil {
		return nil, err
	}
	if err := renderTo(dir, "vpc.yaml", nil); err != nil {
		return nil, err
	}
	if err := renderTo(filepath.Join(dir, "manifests"), "lb-svc-image.yaml", map[string]string{"Image": assets.NATGatewayRef}); err != nil {
		return nil, err
	}
	if err := l.writeKubeOVNDeployment(nil); err != nil {
		return nil, err
	}
	return append(l.kubernetes(dir), l.ovn(dir)...), nil
}

func (l *Lab) kubernetes(dir string) []unit.Unit {
	const etcd = "http://127.0.0.1:2379"
	pki := func(f string) string { return l.path("pki", f) }
	vpc := filepath.Join(dir, "vpc.yaml")
	kubeconfig := func(u string) []string {
		k := l.path(u + ".kubeconfig")
		return []string{"--kubeconfig=" + k, "--authentication-kubeconfig=" + k, "--authorization-kubeconfig=" + k}
	}
	return []unit.Unit{
		{
			Name: "etcd", Ready: []string{"tcp:127.0.0.1:2379"},
			Commands: [][]string{{
				"etcd", "--name=cp", "--data-dir=" + filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
				"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			}},
		},
		{
			Name: "kube-apiserver", After: []string{"etcd"}, Ready: []string{apiURL + "/readyz"},
			Commands: [][]string{{
				"kube-apiserver", "--etcd-servers=" + etcd, "--advertise-address=" + controlIP, "--secure-port=6443",
				"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"), "--client-ca-file=" + pki("ca.crt"),
				"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
				"--kubelet-preferred-address-types=InternalIP", // else exec and logs look the node's name up
				"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
				"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
				"--proxy-client-cert-file=" + pki("front-proxy-client.crt"), "--proxy-client-key-file=" + pki("front-proxy-client.key"),
				"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
				"--service-cluster-ip-range=" + serviceNetwork.String(), "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
				"--service-account-signing-key-file=" + pki("sa.key"), "--service-account-key-file=" + pki("sa.key"),
			}},
		},
		{
			// The resource definitions must be there, and served, before kube-ovn-controller starts.
			Name: "manifests", Once: true, After: []string{"kube-apiserver"},
			Commands: [][]string{
				{
					"kubectl", "apply", "--server-side", "--force-conflicts", "--validate=false",
					"-f", l.state.Assets.CRDs, "-f", filepath.Join(dir, "manifests"),
				},
				{"kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"},
				{"kubectl", "apply", "--server-side", "--force-conflicts", "-f", vpc},
				{"kubectl", "apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", vpc},
			},
		},
		{
			Name: "kube-controller-manager", After: []string{"kube-apiserver"}, Ready: []string{"tcp:127.0.0.1:10257"},
			Commands: [][]string{append([]string{
				"kube-controller-manager", "--root-ca-file=" + pki("ca.crt"), "--service-account-private-key-file=" + pki("sa.key"),
				"--use-service-account-credentials=true", "--leader-elect=false", "--allocate-node-cidrs=false",
				"--node-monitor-grace-period=20s", "--cert-dir=" + filepath.Join(dir, "certs"),
				"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
			}, kubeconfig("kube-controller-manager")...)},
		},
		{
			Name: "kube-scheduler", After: []string{"kube-apiserver"}, Ready: []string{"tcp:127.0.0.1:10259"},
			Commands: [][]string{append([]string{
				"kube-scheduler", "--leader-elect=false", "--cert-dir=" + filepath.Join(dir, "certs-scheduler"),
			}, kubeconfig("kube-scheduler")...)},
		},
		{
			Name: "cluster-dns", After: []string{"kube-apiserver"},
			Commands: [][]string{{l.path("lab"), DNSCommand, controlIP + ":53", l.Kubeconfig()}},
		},
	}
}

func (l *Lab) ovn(dir string) []unit.Unit {
	ovn := func(f string) string { return filepath.Join(dir, "ovn", f) }
	var units []unit.Unit
	for _, db := range []struct{ name, port string }{{"nb", "6641"}, {"sb", "6642"}} {
		units = append(units,
			unit.Unit{
				Name: "ovn-" + db.name + "-create", Once: true, Unless: ovn(db.name + ".db"),
				Commands: [][]string{{"ovsdb-tool", "create", ovn(db.name + ".db"), filepath.Join(l.state.Assets.Trixie, "usr/share/ovn/ovn-"+db.name+".ovsschema")}},
			},
			unit.Unit{
				Name: "ovn-" + db.name, After: []string{"ovn-" + db.name + "-create"}, Ready: []string{"tcp:" + controlIP + ":" + db.port},
				Commands: [][]string{{
					"ovsdb-server", ovn(db.name + ".db"), "--remote=punix:" + ovn(db.name+".sock"),
					"--remote=ptcp:" + db.port + ":" + controlIP, "--unixctl=" + ovn(db.name+".ctl"),
				}},
			})
	}
	return append(units,
		unit.Unit{
			Name: "ovn-northd", After: []string{"ovn-nb", "ovn-sb"},
			Commands: [][]string{{"ovn-northd", "--ovnnb-db=unix:" + ovn("nb.sock"), "--ovnsb-db=unix:" + ovn("sb.sock"), "--unixctl=" + ovn("northd.ctl")}},
		},
		unit.Unit{
			Name: kubeOVNController, After: []string{"manifests", "ovn-northd"},
			// The name is the leader election's identity: always the same, so that a restart takes over its own lease at once.
			Env:      []string{"POD_NAME=kube-ovn-controller", "POD_NAMESPACE=kube-system", "KUBE_NODE_NAME=" + nodeName(1), "POD_IP=" + controlIP, "POD_IPS=" + controlIP},
			Commands: [][]string{append([]string{"kube-ovn-controller"}, l.kubeOVNFlags()...)},
		})
}
