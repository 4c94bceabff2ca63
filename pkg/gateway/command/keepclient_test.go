package command_test

import (
	"net"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestAnEndpointSeesTheClientOnlyIfItsAnswersReturn(t *testing.T) {
	l := newLab(t)
	for n, a := range endpointAddresses {
		l.ip("cluster", "addr add "+a+"/32 dev lo")
		l.whoServers(endpointAt(n))
	}
	l.returnThroughGateway(endpointAt(0))
	l.returnThroughGateway(endpointAt(2))
	l.startServing(endpoints(
		keeping(to(tcp(80), 0, 2)), keeping(to(udp(80), 2)),
		to(tcp(81), 1, 3), to(udp(81), 1)))
	for _, tc := range []struct{ role, address string }{{"client", clientAddress}, {"remote", remoteAddress}} {
		for range 8 {
			for _, network := range []string{"tcp4", "udp4"} {
				l.mustAsk(tc.role, network, 80, tc.address)
				l.mustAsk(tc.role, network, 81, podAddress)
			}
		}
	}
}

func TestKeepingTheClientIsSwitchedLive(t *testing.T) {
	l := newLab(t)
	l.ip("cluster", "addr add "+endpointAddresses[0]+"/32 dev lo")
	l.whoServers(endpointAt(0))
	l.returnThroughGateway(endpointAt(0))
	masquerading := endpoints(to(tcp(80), 0), to(udp(53), 0))
	keepingBoth := endpoints(keeping(to(tcp(80), 0)), keeping(to(udp(53), 0)))
	l.startServing(masquerading)
	for _, tc := range []struct {
		document     *spec.Document
		before, then string
	}{{keepingBoth, podAddress, remoteAddress}, {masquerading, remoteAddress, podAddress}} {
		established, datagrams := l.mustDial("remote", "tcp4", 80), l.mustDial("remote", "udp4", 53)
		l.mustTalk(established, tc.before)
		l.mustTalk(datagrams, tc.before)
		l.serve(tc.document)
		l.mustGoOn(established)
		l.mustTalk(datagrams, tc.then)
		l.mustAsk("remote", "tcp4", 80, tc.then)
	}
}

func TestABackendCannotSendThroughTheGatewayUnasked(t *testing.T) {
	l := newLab(t)
	l.ip("cluster", "addr add "+endpointAddresses[0]+"/32 dev lo")
	l.returnThroughGateway(endpointAt(0))
	l.startServing(endpoints(keeping(to(tcp(80), 0))))
	var listener net.Listener
	l.inside("client", func() (err error) {
		listener, err = net.Listen("tcp4", hostPort(clientAddress, 8000))
		return err
	})
	defer listener.Close()
	l.inside("cluster", func() error {
		d := net.Dialer{Timeout: time.Second, LocalAddr: net.TCPAddrFromAddrPort(endpointAt(0))}
		if conn, err := d.Dial("tcp4", hostPort(clientAddress, 8000)); err == nil {
			conn.Close()
			t.Error("the client was reached")
		}
		return nil
	})
}
