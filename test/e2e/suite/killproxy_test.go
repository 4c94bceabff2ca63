package suite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// killProxy stands between a controller and the API server. It notes the
// writes that went through, and the commands in Pods that came to their end, and
// kills the controller after the one that it is to be killed after, before it
// learns of it: the worst moment there is.
type killProxy struct {
	server     *httptest.Server
	kubeconfig string
	binary     string

	mu      sync.Mutex
	current *controller
}

// controller is one run of kube-ovn-ccm as a process.
type controller struct {
	cmd  *exec.Cmd
	done chan struct{}
	log  bytes.Buffer
	// kills says, after each write, whether it is killed now; nil: never.
	kills func(write string) bool

	mu     sync.Mutex
	writes []string
	killed bool
}

// written are the writes so far, and whether it was killed after the last one.
func (ctl *controller) written() (writes []string, killed bool) {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	return slices.Clone(ctl.writes), ctl.killed
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
	p.mu.Lock()
	ctl := p.current
	p.mu.Unlock()
	r := res.Request
	switch {
	case ctl == nil:
	case res.StatusCode == http.StatusSwitchingProtocols:
		command := strings.Join(r.URL.Query()["command"], " ")
		conn, ok := res.Body.(io.ReadWriteCloser)
		if ok && !strings.HasSuffix(command, "lb-gateway status") { // which changes nothing
			res.Body = &inPod{ReadWriteCloser: conn, ended: func() error { return ctl.wrote(runs + command) }}
		}
	case counts(r) && res.StatusCode < 300:
		return ctl.wrote(r.Method + " " + r.URL.Path)
	}
	return nil
}

// runs is before a command in the names of writes.
const runs = "RUN "

// wrote notes a write. It returns an error when it was the last.
func (ctl *controller) wrote(write string) error {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	ctl.writes = append(ctl.writes, write)
	if ctl.kills == nil || !ctl.kills(write) {
		return nil
	}
	ctl.killed = true
	_ = ctl.cmd.Process.Kill()
	return fmt.Errorf("killed after write %d: %s", len(ctl.writes), write)
}

// inPod is the connection to a command in a Pod.
type inPod struct {
	io.ReadWriteCloser
	ended func() error
}

// Read hands over what the command says. That it came to its end is said last, in
// a message of its own.
func (c *inPod) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	if bytes.Contains(b[:n], []byte(`"status":"Success"`)) {
		if killed := c.ended(); killed != nil {
			return 0, killed
		}
	}
	return n, err
}

// start runs the controller; with n it is killed after its n-th write, with 0
// never.
func (p *killProxy) start(t *testing.T, n int) *controller {
	t.Helper()
	var kills func(string) bool
	if n > 0 {
		left := n
		kills = func(string) bool { left--; return left == 0 }
	}
	return p.run(t, kills, "--leader-elect=false", "--secure-port="+freePort(t), "--bind-address=127.0.0.1", "--cert-dir="+t.TempDir(), "--v=2")
}

// run runs the program with these arguments.
func (p *killProxy) run(t *testing.T, kills func(write string) bool, args ...string) *controller {
	t.Helper()
	ctl := &controller{done: make(chan struct{}), kills: kills}
	ctl.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), p.binary, append(args, "--kubeconfig", p.kubeconfig)...)
	ctl.cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	ctl.cmd.Stdout, ctl.cmd.Stderr = &ctl.log, &ctl.log
	p.mu.Lock()
	p.current = ctl
	p.mu.Unlock()
	ctl.mu.Lock() // no write is looked at before there is a process to kill
	err := ctl.cmd.Start()
	ctl.mu.Unlock()
	if err != nil {
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
	if ctl.ended() && ctl.kills == nil {
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
