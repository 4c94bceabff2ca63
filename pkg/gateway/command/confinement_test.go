package command_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// confined is what the container runtime does with a gateway's container: PID
// 1 of its own PID namespace, the root and /proc/sys read-only, two
// capabilities. $1 is the directory that is writable, like the emptyDir /run.
const confined = `
mount --make-rprivate /
mount -t proc none /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mkdir -p "$1"
mount --bind "$1" "$1"
mount -o remount,bind,ro /
shift
exec setpriv --bounding-set -all,+net_admin,+net_raw --inh-caps -all,+net_admin,+net_raw --no-new-privs "$@"
`

// startConfined runs the agent like a container and returns its PID outside.
func (l *lab) startConfined() (p *process, pid int) {
	l.t.Helper()
	p = l.start("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", confined, "sh", l.statusDir())
	l.eventually("the container has its process", func() error {
		children, err := children(p.Process.Pid)
		if err == nil && len(children) != 1 {
			err = fmt.Errorf("unshare has the children %v", children)
		}
		if err == nil {
			pid = children[0]
		}
		return err
	})
	return p, pid
}

func children(pid int) ([]int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, s := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func TestTwoCapabilitiesAndAReadOnlyContainerAreEnough(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80), udp(53))
	l.publish(document(tcp(80), udp(53)))
	p, pid := l.startConfined()
	l.eventually("the gateway is ready", l.ready)
	l.mustAsk("client", "tcp4", 80, "a")
	l.mustAsk("remote", "udp4", 53, "a")

	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if want := "CapEff:\t" + fmt.Sprintf("%016x", 1<<unix.CAP_NET_ADMIN|1<<unix.CAP_NET_RAW); !strings.Contains(string(status), want) {
		t.Errorf("the agent is not as confined as it should be:\n%s", status)
	}
	for _, command := range []string{"echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding", "touch " + filepath.Join(os.TempDir(), "written")} {
		out, err := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--mount", "--pid", "--net", "sh", "-c", command).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Read-only file system") {
			t.Errorf("%s: %v %s, want a read-only file system", command, err, out)
		}
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if a := l.addresses("gw", "net1"); p.err != nil || a != "" {
		t.Errorf("after SIGTERM the agent ended with %v and net1 has %q", p.err, a)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	l := newLab(t)
	l.publish(document(tcp(80)))
	_, pid := l.startConfined()
	l.eventually("the gateway is ready", l.ready)
	// An operator's shell that ends before what it started.
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--mount", "--pid", "sh", "-c", "for i in 1 2 3; do sleep 0.$i & done").CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	time.Sleep(400 * time.Millisecond)
	l.eventually("none is left", func() error {
		left, err := children(pid)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("children: %v", left)
		}
		return err
	})
	if err := l.ready(); err != nil {
		t.Errorf("the agent was disturbed: %v", err)
	}
}

func TestLargeTransfersWorkWithoutICMP(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.startServing(document(tcp(80)))
	// eth0 of the Pod has an MTU of 1400, both ends have 1500, and neither
	// hears when a packet is too big.
	for _, role := range []string{"client", "cluster"} {
		l.exec(role, "iptables", "-A", "INPUT", "-p", "icmp", "-j", "DROP")
		l.exec(role, "sysctl", "-qw", "net.ipv4.tcp_mtu_probing=0")
	}
	conn, err := l.dial("client", "tcp4", lbAddress, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var mss int
	var mssErr error
	if err := raw.Control(func(fd uintptr) { mss, mssErr = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }); err != nil || mssErr != nil {
		t.Fatal(err, mssErr)
	}
	if mss > 1400-40 {
		t.Errorf("the client may send segments of %d bytes, more than the Pod's eth0 carries", mss)
	}
	const size = 4 << 20
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	if n, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Errorf("%d of %d bytes came back: %v", n, size, err)
	}
}
