// Package recorded holds what several versions of Kube-OVN have made of the
// wishes of kube-ovn-ccm, for tests: each version's own controller ran against
// a real API server with its own definitions, and kube-ovn-ccm's code asked it
// for addresses and routes. hack/record-kube-ovn.sh records a version anew or
// adds one; versions/README.md says what was recorded and how.
package recorded

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

//go:embed versions
var files embed.FS

// Version is all that was recorded of one version of Kube-OVN.
type Version struct {
	// Name is the version, "v1.12.35".
	Name string
	// Ran is false if its controller did not run, and only its definitions were
	// recorded: then there is nothing but OpenAPI.
	Ran bool
	// Objects are those of Kube-OVN, multus and the Pods, after everything was
	// asked for; of the Pods only the metadata. Restarted are the same after
	// one address was given back and kube-ovn-controller was restarted.
	Objects, Restarted []*unstructured.Unstructured
	// LBSvc are the Services and Deployments, after a restart with
	// --enable-lb-svc, and the metadata of the gateway Pods.
	LBSvc []*unstructured.Unstructured
	// OpenAPI is the API server's own description of Kube-OVN's kinds, without
	// prose.
	OpenAPI []byte
	Record
}

// Record is what was recorded beside the objects.
type Record struct {
	// Decisions are the answers of kube-ovn-ccm's code, as it gave them while
	// this version ran.
	Decisions []Decision `json:"decisions"`
	// Routes says what became of a policy route.
	Routes []string `json:"routes"`
	// Events are the Warnings about the Pods, "Pod: reason: message".
	Events []string `json:"events"`
	// Deployments are those that are left after the restart.
	Deployments []string `json:"deployments"`
	// Died says that the controller, with --enable-lb-svc, died of a Service
	// whose name is too long for a label with "lb-svc-" before it.
	Died bool `json:"died,omitempty"`
}

// Decision is the answer to one Service's wish for addresses.
type Decision struct {
	// Service is the name of the Service, which is in the namespace default,
	// and its UID.
	Service string `json:"service"`
	// Subnet, Wish and Needs are what was asked: addresses and families, each
	// with commas in between.
	Subnet string `json:"subnet"`
	Wish   string `json:"wish,omitempty"`
	Needs  string `json:"needs"`
	// Pool is the IPPool that the Service names.
	Pool string `json:"pool,omitempty"`
	// State, Addresses, Reason and Message are the answer (ipam.Result).
	State     string `json:"state"`
	Addresses string `json:"addresses,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Main reports whether the version is of Kube-OVN's main branch, which is newer
// than every release here.
func (v *Version) Main() bool { return strings.HasPrefix(v.Name, "main-") }

// Before reports whether a version is older than v1.minor.
func (v *Version) Before(minor int) bool {
	var major, its int
	_, err := fmt.Sscanf(v.Name, "v%d.%d.", &major, &its)
	return err == nil && major == 1 && its < minor
}

// Object returns the object of a kind and name, nil if there is none.
func Object(objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	for _, u := range objects {
		if u.GetKind() == kind && u.GetName() == name {
			return u
		}
	}
	return nil
}

// All returns everything that was recorded, by name of the version.
func All() ([]*Version, error) { return all(false) }

// Ran returns the versions whose controller ran, by name.
func Ran() ([]*Version, error) { return all(true) }

func all(ran bool) ([]*Version, error) {
	entries, err := files.ReadDir("versions")
	if err != nil {
		return nil, err
	}
	var all []*Version
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		v, err := read(e.Name())
		if err != nil {
			return nil, fmt.Errorf("recorded version %s: %w", e.Name(), err)
		}
		if v.Ran || !ran {
			all = append(all, v)
		}
	}
	return all, nil
}

func read(name string) (*Version, error) {
	v := &Version{Name: name}
	file := func(file string) []byte {
		b, err := files.ReadFile(path.Join("versions", name, file))
		if err != nil {
			return nil // reading nothing as JSON is an error
		}
		return b
	}
	if v.OpenAPI = file("openapi.json"); !json.Valid(v.OpenAPI) {
		return nil, errors.New("no openapi.json")
	}
	if file("record.json") == nil {
		return v, nil
	}
	v.Ran = true
	return v, errors.Join(
		json.Unmarshal(file("record.json"), &v.Record),
		list(file("objects.json"), &v.Objects),
		list(file("restarted.json"), &v.Restarted),
		list(file("lbsvc.json"), &v.LBSvc))
}

// list decodes objects as a client does, so that numbers are what they are
// there.
func list(text []byte, objects *[]*unstructured.Unstructured) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	for _, r := range raw {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(r); err != nil {
			return err
		}
		*objects = append(*objects, u)
	}
	return nil
}

// TypeOf returns the type that the version's definitions give a field of a
// kind: "string"; empty if there is no such field.
func (v *Version) TypeOf(kind string, path ...string) string {
	var document struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if json.Unmarshal(v.OpenAPI, &document) != nil {
		return ""
	}
	at := document.Components.Schemas["io.kubeovn.v1."+kind]
	for _, name := range path {
		properties, _ := at["properties"].(map[string]any)
		if items, ok := at["items"].(map[string]any); ok {
			properties, _ = items["properties"].(map[string]any)
		}
		at, _ = properties[name].(map[string]any)
	}
	t, _ := at["type"].(string)
	return t
}
