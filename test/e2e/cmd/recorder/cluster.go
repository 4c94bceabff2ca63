package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
)

const (
	token      = "recorder"
	apiAddress = "127.0.0.1:6443"
)

// cluster is an API server and OVN's two databases: all that
// kube-ovn-controller talks to.
type cluster struct {
	assets   *assets.Set
	dir      string
	config   *rest.Config
	kube     kubernetes.Interface
	dyn      dynamic.Interface
	children []*process
}

// process is a program that runs until it is stopped.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func newCluster(set *assets.Set, dir string) (*cluster, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &cluster{assets: set, dir: dir}
	c.config = &rest.Config{
		Host: "https://" + apiAddress, BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // its certificate is made at its start, on this machine
	}
	if c.kube, err = kubernetes.NewForConfig(c.config); err != nil {
		return nil, err
	}
	c.dyn, err = dynamic.NewForConfig(c.config)
	return c, err
}

// start brings the cluster up with the definitions of multus and of one version
// of Kube-OVN.
func (c *cluster) start(ctx context.Context, definitions string) error {
	if err := c.writeFiles(); err != nil {
		return err
	}
	if err := c.run(ctx, "etcd", c.program("etcd"), "--data-dir="+c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn"); err != nil {
		return err
	}
	if err := reachable(ctx, "127.0.0.1:2379"); err != nil {
		return err
	}
	err := c.run(ctx, "kube-apiserver", c.program("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--cert-dir="+c.path("certs"),
		"--bind-address=127.0.0.1", "--advertise-address=172.18.0.2", "--endpoint-reconciler-type=none", "--token-auth-file="+c.path("tokens.csv"), "--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc", "--allow-privileged=true",
		"--disable-admission-plugins=ServiceAccount", // nobody makes ServiceAccounts here
		"--service-account-signing-key-file="+c.path("sa.key"), "--service-account-key-file="+c.path("sa.key"))
	if err != nil {
		return err
	}
	err = until(ctx, time.Minute, "the API server", func(ctx context.Context) error {
		return c.kube.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--validate=false", "-f", definitions, "-f", filepath.Join(c.assets.CRDs, "networks-crd.yaml")},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"},
	} {
		if err := c.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return c.databases(ctx)
}

// databases starts OVN's databases. Nothing translates or carries out what is
// written there; kube-ovn-controller does not need it.
func (c *cluster) databases(ctx context.Context) error {
	for name, port := range map[string]string{"nb": "6641", "sb": "6642"} {
		file := c.path(name + ".db")
		schema := filepath.Join(c.assets.Trixie, "usr/share/ovn/ovn-"+name+".ovsschema")
		if out, err := c.debian(ctx, "ovsdb-tool", "create", file, schema).CombinedOutput(); err != nil {
			return fmt.Errorf("creating OVN's database %s: %w: %s", name, err, out)
		}
		server := c.debian(ctx, "ovsdb-server", file, "--remote=ptcp:"+port+":127.0.0.1", "--unixctl="+c.path(name+".ctl"))
		if err := c.run(ctx, "ovn-"+name, server.Path, server.Args[1:]...); err != nil {
			return err
		}
		if err := reachable(ctx, "127.0.0.1:"+port); err != nil {
			return err
		}
	}
	// What ovn-northd begins with; some versions of Kube-OVN wait for it, others need its options.
	for port, transaction := range map[string]string{
		"6641": `["OVN_Northbound",{"op":"insert","table":"NB_Global","row":{"options":["map",[["mac_prefix","0a:00:00"]]]}}]`,
		"6642": `["OVN_Southbound",{"op":"insert","table":"SB_Global","row":{}}]`,
	} {
		if out, err := c.debian(ctx, "ovsdb-client", "transact", "tcp:127.0.0.1:"+port, transaction).CombinedOutput(); err != nil {
			return fmt.Errorf("initializing OVN's database: %w: %s", err, out)
		}
	}
	return nil
}

// debian is a command of the Debian in the assets, which may be newer than the
// machine's.
func (c *cluster) debian(ctx context.Context, program string, args ...string) *exec.Cmd {
	root := c.assets.Trixie
	at := filepath.Join(root, "usr/bin", program)
	if _, err := os.Stat(at); err != nil {
		at = filepath.Join(root, "usr/sbin", program)
	}
	loaders, _ := filepath.Glob(filepath.Join(root, "usr/lib*", "ld-linux-*.so.*"))
	libs, _ := filepath.Glob(filepath.Join(root, "usr/lib", "*-linux-gnu*"))
	if len(loaders) == 0 || len(libs) == 0 {
		return exec.CommandContext(ctx, at, args...)
	}
	return exec.CommandContext(ctx, loaders[0], append([]string{"--library-path", libs[0], "--argv0", program, at}, args...)...)
}

// writeFiles makes what the API server and its clients read.
func (c *cluster) writeFiles() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
`, apiAddress, token)
	return errors.Join(
		os.WriteFile(c.path("sa.key"), block, 0o600),
		os.WriteFile(c.path("tokens.csv"), []byte(token+",admin,admin,system:masters\n"), 0o600),
		os.WriteFile(c.path("kubeconfig"), []byte(kubeconfig), 0o600))
}

func (c *cluster) path(name string) string    { return filepath.Join(c.dir, name) }
func (c *cluster) program(name string) string { return filepath.Join(c.assets.Bin, name) }

// run starts a program that ends with this one at the latest.
func (c *cluster) run(ctx context.Context, name, path string, args ...string) error {
	_, err := c.child(ctx, name, nil, path, args...)
	return err
}

func (c *cluster) child(ctx context.Context, name string, env []string, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // why it ended is in its log
		close(p.done)
	}()
	c.children = append(c.children, p)
	return p, nil
}

// ended reports whether a process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// end stops a process and waits for it.
func (p *process) end(grace time.Duration) {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		return // it has ended
	}
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stop ends all programs, the last one first.
func (c *cluster) stop() {
	for i := len(c.children) - 1; i >= 0; i-- {
		c.children[i].end(5 * time.Second)
	}
}

func (c *cluster) kubectl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.program("kubectl"), append([]string{"--kubeconfig=" + c.path("kubeconfig")}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
	}
	return nil
}

// until asks again and again until check has no complaint.
func until(ctx context.Context, within time.Duration, what string, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%s: not within %s: %w", what, within, err)
		}
	}
}

// pause lets time pass; false if the context ends before.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func reachable(ctx context.Context, address string) error {
	return until(ctx, 20*time.Second, address, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}
