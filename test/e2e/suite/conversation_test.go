package suite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// conversation is one connection, or one flow of datagrams, that stays open.
type conversation struct {
	network string
	conn    net.Conn
	in      *bufio.Reader
}

// talk opens a conversation that ends with the test.
func (who caller) talk(t *testing.T, network, hostport string) *conversation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	conn, err := who.dial(ctx, network, hostport)
	if err != nil {
		t.Fatalf("%s to %s by %s: %v", who, hostport, network, err)
	}
	t.Cleanup(func() { conn.Close() })
	return &conversation{network: network, conn: conn, in: bufio.NewReader(conn)}
}

// ask asks for one of netexec's words: hostname, clientip.
func (v *conversation) ask(word string) (string, error) {
	if v.network == "udp" {
		return say(v.conn, word, time.Second)
	}
	if err := v.conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(v.conn, "GET /%s HTTP/1.1\r\nHost: netexec\r\n\r\n", word); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(v.in, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// with opens conversations until one is with that Pod.
func (who caller) with(t *testing.T, network, hostport, pod string) *conversation {
	t.Helper()
	var found *conversation
	eventually(t, 20*time.Second, who.String()+" talks to Pod "+pod, func(context.Context) error {
		v := who.talk(t, network, hostport)
		got, err := v.ask("hostname")
		if err == nil && got != pod {
			err = fmt.Errorf("it is %s", got)
		}
		if err != nil {
			v.conn.Close()
			return err
		}
		found = v
		return nil
	})
	return found
}

// ended waits until a conversation gets no answers any more.
func (v *conversation) ended(t *testing.T, within time.Duration, what string) {
	t.Helper()
	eventually(t, within, "end of "+what, func(context.Context) error {
		if got, err := v.ask("hostname"); err == nil {
			return fmt.Errorf("%s still answers", got)
		}
		return nil
	})
}

// goesOn fails the test unless a conversation is still with that Pod.
func (v *conversation) goesOn(t *testing.T, pod string) {
	t.Helper()
	if got, err := v.ask("hostname"); err != nil || got != pod {
		t.Errorf("the conversation by %s with %s has the answer %q, %v", v.network, pod, got, err)
	}
}
