package unit

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	one := [][]string{{"true"}}
	for sentence, units := range map[string][]Unit{
		"a unit without commands":                 {{Name: "a"}},
		"several commands in a unit that goes on": {{Name: "a", Commands: [][]string{{"true"}, {"true"}}}},
		"the same name twice":                     {{Name: "a", Commands: one}, {Name: "a", Commands: one}},
		"waiting for what is listed later":        {{Name: "a", Commands: one, After: []string{"b"}}, {Name: "b", Commands: one}},
		"waiting for itself":                      {{Name: "a", Commands: one, After: []string{"a"}}},
	} {
		t.Run(sentence, func(t *testing.T) {
			if _, err := New(units, t.TempDir()); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

// TestSupervisor is one test: a supervisor collects every child of its process, so there can be only one.
func TestSupervisor(t *testing.T) {
	dir := t.TempDir()
	file := func(n string) string { return filepath.Join(dir, n) }
	sh := func(script string) [][]string { return [][]string{{"/bin/sh", "-c", script}} }
	if err := os.WriteFile(file("there"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := New([]Unit{
		{Name: "once", Once: true, Commands: append(sh("echo one"), sh("echo two; touch "+file("once"))...)},
		{Name: "needless", Once: true, Unless: file("there"), Commands: sh("touch " + file("needless"))},
		{Name: "second-try", Once: true, Commands: sh("[ -e " + file("tried") + " ] || { touch " + file("tried") + "; exit 3; }")},
		{Name: "server", After: []string{"once"}, Env: []string{"WORD=hello"}, Ready: []string{"file:" + file("ready")},
			Commands: sh("[ -e " + file("once") + " ] && echo $WORD && sleep 0.2 && touch " + file("ready") + "; exec sleep 600")},
		{Name: "after-server", After: []string{"server"}, Commands: sh("[ -e " + file("ready") + " ] || exit 1; exec sleep 600")},
		{Name: "stubborn", Commands: sh("trap '' TERM; while :; do sleep 0.1; done")},
		{Name: "orphans", Once: true, Commands: sh("(sleep 0.1 &) ; exit 0")},
		{Name: "with-arguments", Commands: [][]string{{
			"/bin/sh", "-c", `IFS='|'; printf %s "$*" >` + file("arguments") + "; exec sleep 600", "sh", "own",
		}}},
	}, filepath.Join(dir, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	s.Start(ctx)
	defer func() {
		for _, n := range []string{"server", "after-server", "stubborn", "with-arguments"} {
			if err := s.Stop(context.Background(), n, true); err != nil {
				t.Error(err)
			}
		}
		end()
		time.Sleep(100 * time.Millisecond)
		for _, u := range s.Status() {
			if u.PID != 0 {
				t.Errorf("the end started %s: %+v", u.Name, u)
				_ = syscall.Kill(-u.PID, syscall.SIGKILL)
			}
		}
	}()
	socket := file("control.sock")
	l, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = s.Serve(t.Context(), l) }()
	ask := func(op, name string) map[string]Status {
		t.Helper()
		us, err := Ask(t.Context(), socket, Request{Op: op, Unit: name})
		if err != nil {
			t.Fatalf("%s %s: %v", op, name, err)
		}
		out := map[string]Status{}
		for _, u := range us {
			out[u.Name] = u
		}
		return out
	}
	await := func(what string, cond func(map[string]Status) bool) map[string]Status {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			st := ask("status", "")
			if cond(st) {
				return st
			}
			if time.Now().After(deadline) {
				t.Fatalf("not seen: %s; %+v", what, st)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}

	st := await("all is ready", func(m map[string]Status) bool {
		return m["once"].State == Done && m["needless"].State == Done && m["second-try"].State == Done && m["after-server"].State == Ready && m["orphans"].State == Done
	})
	if st["after-server"].Restarts != 0 {
		t.Error("a unit was started before the one it waits for was ready")
	}
	if st["second-try"].Restarts != 1 {
		t.Errorf("a unit that fails once was tried %d times more", st["second-try"].Restarts)
	}
	if _, err := os.Stat(file("needless")); err == nil {
		t.Error("a unit ran although its file was there")
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "logs", "once.log")); string(b) != "one\ntwo\n" {
		t.Errorf("log of once: %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "logs", "server.log")); string(b) != "hello\n" {
		t.Errorf("log of server: %q", b)
	}

	pid := st["server"].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st = await("what ends by itself is started again", func(m map[string]Status) bool { return m["server"].State == Ready && m["server"].PID != pid })
	if st["server"].Restarts != 1 {
		t.Errorf("restarts: %d", st["server"].Restarts)
	}
	if st := ask("stop", "server"); st["server"].State != Stopped && st["server"].PID != 0 {
		t.Errorf("after stop: %+v", st["server"])
	}
	time.Sleep(2 * restartDelay)
	if st := ask("status", ""); st["server"].State != Stopped || st["server"].Restarts != 1 {
		t.Errorf("it did not stay stopped: %+v", st["server"])
	}
	if st := ask("start", "server"); st["server"].State != Ready {
		t.Errorf("after start: %+v", st["server"])
	}
	for _, args := range [][]string{{"--more", "--still more"}, nil} {
		if _, err := Ask(t.Context(), socket, Request{Op: "restart", Unit: "with-arguments", Args: args}); err != nil {
			t.Fatalf("restart with %q: %v", args, err)
		}
		want := strings.Join(append([]string{"own"}, args...), "|")
		await("it has the arguments "+want, func(m map[string]Status) bool {
			b, _ := os.ReadFile(file("arguments"))
			return m["with-arguments"].State == Ready && string(b) == want
		})
	}
	begin := time.Now()
	ask("kill", "stubborn")
	if d := time.Since(begin); d > stopGrace/2 {
		t.Errorf("kill took %s", d)
	}
	for _, q := range []Request{
		{Op: "stop", Unit: "nothing"}, {Op: "stop", Unit: "once"}, {Op: "start", Unit: "once"},
		{Op: "restart", Unit: "once"}, {Op: "restart", Unit: "nothing"}, {Op: "dance", Unit: "server"},
	} {
		if _, err := Ask(t.Context(), socket, q); err == nil {
			t.Errorf("%v was no error", q)
		}
	}
	if b, err := os.ReadFile("/proc/thread-self/children"); err == nil && len(strings.Fields(string(b))) > 8 {
		t.Errorf("children are not collected: %s", b)
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for probe, want := range map[string]bool{
		"file:" + dir: true, "file:" + dir + "/no": false,
		"unix:" + dir + "/sock": true, "unix:" + dir + "/no": false,
		"tcp:" + tcp.Addr().String(): true, "tcp:127.0.0.1:1": false,
		"https://127.0.0.1:1/": false, "smoke:signal": false, "": false,
	} {
		if err := Probe(t.Context(), probe); (err == nil) != want {
			t.Errorf("%q: %v", probe, err)
		}
	}
}
