package kubeovn

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNADConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		config             string
		typ, master, mode  string
		reason             string
		says               []string
		withoutIPAM, named string // for WithoutIPAM("lb-svc-web", nil)
	}{
		"the guide's": {
			config: `{ "cniVersion": "0.3.0", "type": "macvlan", "master": "eth0", "mode": "bridge" }`,
			typ:    "macvlan", master: "eth0", mode: "bridge",
			withoutIPAM: `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge","name":"lb-svc-web"}`,
		},
		"with Kube-OVN's ipam and a name": {
			config: `{"name":"lan","type":"macvlan","mtu":9007199254740993,"ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock"}}`,
			typ:    "macvlan", withoutIPAM: `{"name":"lan","type":"macvlan","mtu":9007199254740993}`,
		},
		"with an ipam that only the plugins recognize": {
			config: `{"type":"macvlan","IPAM":{"type":"dhcp"},"args":{"ipam":"<kept>"}}`, typ: "macvlan",
			withoutIPAM: `{"type":"macvlan","args":{"ipam":"<kept>"},"name":"lb-svc-web"}`,
		},
		"a list of plugins": {
			config: `{"cniVersion":"0.4.0","plugins":[{"type":"macvlan","master":"eth1","ipam":{}},{"type":"tuning","sysctl":{"net.ipv4.conf.all.log_martians":"1"},"ipam":{"type":"x"}}]}`,
			typ:    "macvlan", master: "eth1",
			withoutIPAM: `{"cniVersion":"0.4.0","name":"lb-svc-web","plugins":[{"type":"macvlan","master":"eth1"},{"type":"tuning","sysctl":{"net.ipv4.conf.all.log_martians":"1"}}]}`,
		},
		"two slashes in a string are no comment": {
			config: `{"type":"macvlan","x":"a\"//b"}`, typ: "macvlan", withoutIPAM: `{"type":"macvlan","x":"a\"//b","name":"lb-svc-web"}`,
		},
		"nothing":             {config: " \n", reason: ReasonInvalidConfig, says: []string{"spec.config is empty", "macvlan"}},
		"no JSON":             {config: `type: macvlan`, reason: ReasonInvalidConfig, says: []string{"spec.config is not JSON", "correct it"}},
		"JSON cut short":      {config: `{"type":"macvlan"`, reason: ReasonInvalidConfig, says: []string{"not JSON"}},
		"something behind it": {config: `{"type":"macvlan"} {}`, reason: ReasonInvalidConfig, says: []string{"something follows"}},
		"the guide's with its comment": {
			config: "{\n\"type\": \"macvlan\",\n\"master\": \"eth0\",                            //Physical network card, configure according to the actual situation\n\"mode\": \"bridge\"\n}",
			reason: ReasonInvalidConfig, says: []string{`the comment "//Physical network card`, "remove it"},
		},
		"a comment in stars":        {config: `{/* x */"type":"macvlan"}`, reason: ReasonInvalidConfig, says: []string{"comment"}},
		"a list":                    {config: `[{"type":"macvlan"}]`, reason: ReasonInvalidConfig, says: []string{"no object"}},
		"null":                      {config: `null`, reason: ReasonInvalidConfig, says: []string{"no object"}},
		"no type":                   {config: `{"master":"eth0"}`, reason: ReasonInvalidConfig, says: []string{`set "type" to "macvlan"`}},
		"a type that is no string":  {config: `{"type":7}`, reason: ReasonInvalidConfig, says: []string{`"type"`, "no string"}},
		"a master that is none":     {config: `{"type":"macvlan","master":["eth0"]}`, reason: ReasonInvalidConfig, says: []string{`"master"`}},
		"another type":              {config: `{"type":"bridge"}`, reason: ReasonUnusableType, says: []string{`type is "bridge"`, `only be attached by "macvlan"`}},
		"another type in a list":    {config: `{"plugins":[{"type":"ipvlan"}]}`, reason: ReasonUnusableType, says: []string{`plugins[0].type is "ipvlan"`}},
		"an empty list":             {config: `{"plugins":[]}`, reason: ReasonInvalidConfig, says: []string{"plugins"}},
		"plugins that are none":     {config: `{"plugins":{}}`, reason: ReasonInvalidConfig, says: []string{"plugins"}},
		"a plugin that is none":     {config: `{"plugins":[{"type":"macvlan"},4]}`, reason: ReasonInvalidConfig, says: []string{"plugins[1]"}},
		"a plugin without its type": {config: `{"plugins":[{}]}`, reason: ReasonInvalidConfig, says: []string{`"plugins[0].type"`}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseNADConfig(tc.config)
			if tc.reason != "" {
				var e *ConfigError
				if !errors.As(err, &e) || e.Reason != tc.reason {
					t.Fatalf("error %v", err)
				}
				for _, part := range tc.says {
					if !strings.Contains(e.Message, part) {
						t.Errorf("%q does not say %q", e.Message, part)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Type != tc.typ || c.Master != tc.master || c.Mode != tc.mode {
				t.Errorf("%+v", c)
			}
			got, err := c.WithoutIPAM("lb-svc-web", nil)
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := c.WithoutIPAM("lb-svc-web", nil); again != got {
				t.Error("the second time is another")
			}
			if d := cmp.Diff(anyJSON(t, tc.withoutIPAM), anyJSON(t, got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func anyJSON(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// FuzzParseNADConfig: every input is either refused with a message or gives a
// copy that reads the same and has no ipam.
func FuzzParseNADConfig(f *testing.F) {
	for _, s := range []string{
		`{"type":"macvlan","master":"eth0"}`, `{"plugins":[{"type":"macvlan","ipam":{}}]}`, `{"type":"macvlan" // x`, `[`, `{"Type":"macvlan","iPam":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, config string) {
		c, err := ParseNADConfig(config)
		if err != nil {
			var e *ConfigError
			if !errors.As(err, &e) || e.Reason == "" || e.Message == "" {
				t.Errorf("error %#v", err)
			}
			return
		}
		out, err := c.WithoutIPAM("n", nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseNADConfig(out)
		if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if again.Type != c.Type || again.Master != c.Master || again.Mode != c.Mode || lookup(again.object, "ipam") != nil {
			t.Errorf("%s became %s", config, out)
		}
	})
}

func TestSysctlsAreSetByAPluginAtTheEnd(t *testing.T) {
	sysctls := map[string]string{"net.ipv6.conf.all.forwarding": "1"}
	for config, want := range map[string]string{
		`{"cniVersion": "0.3.0", "type": "macvlan", "master": "eth0", "ipam": {"type": "x"}}`:  `{"cniVersion":"0.3.0","name":"gw","plugins":[{"master":"eth0","type":"macvlan"},{"sysctl":{"net.ipv6.conf.all.forwarding":"1"},"type":"tuning"}]}`,
		`{"cniVersion": "0.3.0", "name": "lan", "plugins": [{"type": "macvlan", "ipam": {}}]}`: `{"cniVersion":"0.3.0","name":"lan","plugins":[{"type":"macvlan"},{"sysctl":{"net.ipv6.conf.all.forwarding":"1"},"type":"tuning"}]}`,
	} {
		c, err := ParseNADConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.WithoutIPAM("gw", sysctls)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(got)); err != nil || compact.String() != want {
			t.Errorf("%v: got\n%s\nwant\n%s", err, compact.String(), want)
		}
		again, err := ParseNADConfig(got)
		if err != nil || again.Type != "macvlan" {
			t.Errorf("the result cannot be read: %v", err)
		}
	}
}
