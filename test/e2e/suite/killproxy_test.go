package suite

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// killProxy stands between a controller and the API server. It counts the
// writes that went through and, when the controller's last one has been
// answered by the API server, kills the controller before it learns of it: the
// worst moment there is.
type killProxy struct {
	server     *httptest.Server
	kubeconfig string
	binary     string

	mu      sync.Mutex
	current *controller
}

// controller is one run of kube-ovn-ccm as a process.
type controller struct {
	cmd     *exec.Cmd
	done    chan struct{}
	log     bytes.Buffer
	written int
	// killAt is the number of the write after which it is killed; 0: never.
	killAt int
}

func newKillProxy(t *testing.T) *killProxy {
	t.Helper()
	cfg := must(c.RESTConfig())(t)
	cfg.NextProtos = []string{"http/1.1"} // what is executed in a Pod goes over an upgraded connection
	transport := must(rest.TransportFor(cfg))(t)
	target := must(url.Parse(cfg.Host))(t)
	p := &killProxy{binary: filepath.Join(t.TempDir(), "kube-ovn-ccm")}
	stamp := must(exec.CommandContext(t.Context(), filepath.Join(c.root, "build/ldflags.sh")).Output())(t)
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", string(bytes.TrimSpace(stamp)), "-o", p.binary, "./cmd/kube-ovn-ccm")
	build.Dir = c.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	reverse := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1,
		ModifyResponse: p.answered,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	p.server = httptest.NewServer(reverse)
	t.Cleanup(p.server.Close)

	p.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	kc := clientcmdapi.NewConfig()
	kc.Clusters["lab"] = &clientcmdapi.Cluster{Server: p.server.URL}
	kc.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab"}
	kc.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*kc, p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return p
}

// counts says whether a request changes the cluster. Events and Leases are no
// part of the outcome; reviews and dry runs are reads.
func counts(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	if r.URL.Query().Has("dryRun") {
		return false
	}
	for _, no := range []string{"/events", "/leases", "reviews"} {
		if strings.Contains(r.URL.Path, no) {
			return false
		}
	}
	return true
}

// answered is called with every answer of the API server.
func (p *killProxy) answered(res *http.Response) error {
	if !counts(res.Request) || res.StatusCode >= 300 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ctl := p.current
	if ctl == nil {
		return nil
	}
	ctl.written++
	if ctl.killAt == 0 || ctl.written < ctl.killAt {
		return nil
	}
	_ = ctl.cmd.Process.Kill()
	return fmt.Errorf("killed after write %d: %s %s", ctl.written, res.Request.Method, res.Request.URL.Path)
}

// start runs the controller; with killAt n it is killed after its n-th write.
func (p *killProxy) start(t *testing.T, killAt int) *controller {
	t.Helper()
	return p.run(t, killAt, "--leader-elect=false", "--secure-port="+freePort(t), "--bind-address=127.0.0.1", "--cert-dir="+t.TempDir(), "--v=2")
}

// run runs the program with these arguments, likewise.
func (p *killProxy) run(t *testing.T, killAt int, args ...string) *controller {
	t.Helper()
	ctl := &controller{done: make(chan struct{}), killAt: killAt}
	ctl.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), p.binary, append(args, "--kubeconfig", p.kubeconfig)...)
	ctl.cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	ctl.cmd.Stdout, ctl.cmd.Stderr = &ctl.log, &ctl.log
	p.mu.Lock()
	p.current = ctl
	p.mu.Unlock()
	if err := ctl.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ctl.done)
		_ = ctl.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = ctl.cmd.Process.Kill()
		<-ctl.done
		if t.Failed() {
			t.Logf("the controller's log:\n%s", tail(ctl.log.String(), 4000))
		}
	})
	return ctl
}

// ended says whether the controller has come to its end.
func (ctl *controller) ended() bool {
	select {
	case <-ctl.done:
		return true
	default:
		return false
	}
}

// endsWithin waits for the end of the controller, and says whether it came.
func (ctl *controller) endsWithin(d time.Duration) bool {
	select {
	case <-ctl.done:
		return true
	case <-time.After(d):
		return false
	}
}

// stop ends a controller that must be alive, unless it was to be killed.
func (ctl *controller) stop(t *testing.T) {
	t.Helper()
	if ctl.ended() && ctl.killAt == 0 {
		t.Fatalf("the controller ended by itself:\n%s", tail(ctl.log.String(), 4000))
	}
	_ = ctl.cmd.Process.Kill()
	if !ctl.endsWithin(5 * time.Second) {
		t.Fatal("the controller does not end")
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
