package kubeovn

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/openapi"
)

// documents is an API server that describes Kube-OVN's kinds.
type documents struct {
	mu   sync.Mutex
	text string // empty: Kube-OVN is not installed
	err  error
	read int
}

func (d *documents) set(text string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text, d.err = text, err
}

func (d *documents) Paths() (map[string]openapi.GroupVersion, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil, d.err
	}
	all := map[string]openapi.GroupVersion{"api/v1": nil}
	if d.text != "" {
		all["apis/kubeovn.io/v1"] = document{d, d.text}
	}
	return all, nil
}

type document struct {
	of   *documents
	text string
}

func (d document) ServerRelativeURL() string { return fmt.Sprintf("/openapi/v3?hash=%d", len(d.text)) }

func (d document) Schema(string) ([]byte, error) {
	d.of.mu.Lock()
	defer d.of.mu.Unlock()
	d.of.read++
	return []byte(d.text), nil
}

// openAPI is the document of a cluster whose Vips have that schema.
func openAPI(vip string) string {
	return `{"components":{"schemas":{"io.kubeovn.v1.Vip":` + vip + `}}}`
}

const (
	goodVip = `{"properties":{"spec":{"properties":{"subnet":{"type":"string"},"v4ip":{"type":"string"},"v6ip":{"type":"string"}}},
		"status":{"properties":{"v4ip":{"type":"string"},"v6ip":{"type":"string"}}}}}`
	oldVip = `{"properties":{"spec":{"properties":{"subnet":{"type":"string"},"v4ip":{"type":"string"}}},"status":{"properties":{"v4ip":{"type":"string"}}}}}`
)

func TestLackingFields(t *testing.T) {
	for name, tc := range map[string]struct {
		document, want string
	}{
		"all fields are there":                   {openAPI(goodVip), "map[]"},
		"a field is lacking in spec and status":  {openAPI(oldVip), "map[Vip:[spec.v6ip status.v6ip]]"},
		"a definition without any field":         {openAPI(`{"type":"object"}`), "map[Vip:[spec.subnet spec.v4ip spec.v6ip status.v4ip status.v6ip]]"},
		"a definition that keeps whatever comes": {openAPI(`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`), "map[]"},
		"a part that keeps whatever comes": {
			openAPI(strings.Replace(oldVip, `"status":{`, `"status":{"x-kubernetes-preserve-unknown-fields":true,`, 1)), "map[Vip:[spec.v6ip]]",
		},
		"a list whose members lack a field": {
			`{"components":{"schemas":{"io.kubeovn.v1.Vpc":{"properties":{"spec":{"properties":{"policyRoutes":{"items":{"properties":{
				"priority":{},"match":{},"action":{}}}}}}}}}}}`, "map[Vpc:[spec.policyRoutes[].nextHopIP]]",
		},
		"a kind that is not installed is not judged":  {`{"components":{"schemas":{}}}`, "map[]"},
		"a schema that is none":                       {openAPI(`7`), "map[Vip:[spec.subnet spec.v4ip spec.v6ip status.v4ip status.v6ip]]"},
		"another group's kind of this name is no Vip": {`{"components":{"schemas":{"com.example.v1.Vip":{}}}}`, "map[]"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lackingFields([]byte(tc.document))
			if err != nil || fmt.Sprint(got) != tc.want {
				t.Errorf("%v, %v; want %s", got, err, tc.want)
			}
		})
	}
	if got, err := lackingFields([]byte(`no JSON`)); err == nil {
		t.Errorf("no error, but %v", got)
	}
}

// checked is a Cache whose API server describes Kube-OVN's kinds.
func checked(t *testing.T, d *documents) (*Cache, *atomic.Int32) {
	t.Helper()
	c := NewCache(fakeClient())
	mended := &atomic.Int32{}
	c.CheckDefinitions(d, func() { mended.Add(1) })
	c.definitions.retry = 10 * time.Millisecond
	c.Start(t.Context())
	eventually(t, "synced", c.Synced)
	return c, mended
}

func TestOldDefinitionsAreToldUntilTheyAreReplaced(t *testing.T) {
	d := &documents{text: openAPI(oldVip)}
	c, mended := checked(t, d)
	eventually(t, "told", func() bool { return len(c.Missing()) == 1 })
	for _, part := range []string{"Vip cannot be used", "CustomResourceDefinition is too old", "spec.v6ip, status.v6ip", "v1.12 or later"} {
		if !strings.Contains(c.Missing()[0], part) {
			t.Errorf("%q does not say %q", c.Missing()[0], part)
		}
	}
	if n := mended.Load(); n != 0 {
		t.Errorf("mended %d times", n)
	}
	d.set(openAPI(goodVip), nil)
	eventually(t, "healed", func() bool { return len(c.Missing()) == 0 })
	eventually(t, "told that it is mended", func() bool { return mended.Load() == 1 })
}

func TestDefinitionsAreReadOnceUnlessTheyChange(t *testing.T) {
	d := &documents{text: openAPI(oldVip)}
	c, _ := checked(t, d)
	eventually(t, "told", func() bool { return len(c.Missing()) == 1 })
	time.Sleep(100 * time.Millisecond) // several looks at the index
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read != 1 {
		t.Errorf("read %d times", d.read)
	}
}

func TestDefinitionsThatCannotBeHadAreNotJudged(t *testing.T) {
	d := &documents{err: errors.New("forbidden")}
	c, _ := checked(t, d)
	time.Sleep(50 * time.Millisecond)
	if m := c.Missing(); len(m) != 0 {
		t.Errorf("missing %q", m)
	}
	d.set(openAPI(oldVip), nil)
	eventually(t, "told once they can be had", func() bool { return len(c.Missing()) == 1 })
	d.set("", nil)
	eventually(t, "forgotten when Kube-OVN is removed", func() bool { return len(c.Missing()) == 0 })
}
