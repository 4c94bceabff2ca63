package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// record is all that is written.
type record struct {
	recorded.Record
	snapshots map[string][]*unstructured.Unstructured
}

// kinds are the resources that are recorded or made.
var kinds = map[string]schema.GroupVersionResource{
	"Subnet": kubeovn.SubnetResource, "Vip": kubeovn.VipResource, "IP": kubeovn.IPResource, "Vpc": kubeovn.VpcResource,
	"IPPool":                      {Group: "kubeovn.io", Version: "v1", Resource: "ippools"},
	"NetworkAttachmentDefinition": kubeovn.NADResource,
	"Node":                        {Version: "v1", Resource: "nodes"},
	"Pod":                         {Version: "v1", Resource: "pods"},
	"ConfigMap":                   {Version: "v1", Resource: "configmaps"},
	"Service":                     {Version: "v1", Resource: "services"},
	"Deployment":                  {Group: "apps", Version: "v1", Resource: "deployments"},
}

func (s *scenario) resource(kind, namespace string) (dynamic.ResourceInterface, error) {
	gvr, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind %s", kind)
	}
	if namespace != "" {
		return s.dyn.Resource(gvr).Namespace(namespace), nil
	}
	return s.dyn.Resource(gvr), nil
}

// snapshot keeps what there is now of some kinds, as far as it is wanted.
func (s *scenario) snapshot(ctx context.Context, name string, wanted func(u *unstructured.Unstructured) bool, some ...string) error {
	var all []*unstructured.Unstructured
	for _, kind := range some {
		l, err := s.dyn.Resource(kinds[kind]).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range l.Items {
			u := &l.Items[i]
			if !wanted(u) {
				continue
			}
			// Who wrote which field, and the rest of a Pod, tell nothing here.
			u.SetManagedFields(nil)
			if kind == "Pod" {
				delete(u.Object, "spec")
			}
			if kind == "Pod" || kind == "Deployment" {
				delete(u.Object, "status")
			}
			all = append(all, u)
		}
	}
	if s.record.snapshots == nil {
		s.record.snapshots = map[string][]*unstructured.Unstructured{}
	}
	s.record.snapshots[name] = all
	return nil
}

// look records the Warnings about the Pods, and the Deployments that there are.
func (s *scenario) look(ctx context.Context) error {
	events, err := s.kube.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return err
	}
	for _, e := range events.Items {
		s.record.Events = append(s.record.Events, fmt.Sprintf("%s: %s: %s", e.InvolvedObject.Name, e.Reason, e.Message))
	}
	slices.Sort(s.record.Events)
	s.record.Events = slices.Compact(s.record.Events)
	deployments, err := s.kube.AppsV1().Deployments("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		s.record.Deployments = append(s.record.Deployments, d.Name)
	}
	return nil
}

// write stores the records.
func (s *scenario) write(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	api, err := s.openAPI(ctx)
	if err != nil {
		return err
	}
	files := map[string]any{"openapi.json": api}
	if s.controller != "" {
		files["record.json"] = s.record.Record
	}
	for name, content := range files {
		b, err := json.MarshalIndent(content, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	for name, objects := range s.record.snapshots {
		b, err := onePerLine(objects)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".json"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// onePerLine writes a list so that a line is an object: small, and what changes
// from one recording to the next can be seen.
func onePerLine(objects []*unstructured.Unstructured) ([]byte, error) {
	var lines [][]byte
	for _, u := range objects {
		line, err := json.Marshal(u.Object)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return slices.Concat([]byte("[\n"), bytes.Join(lines, []byte(",\n")), []byte("\n]\n")), nil
}

// openAPI is the API server's own description of Kube-OVN's kinds, without
// prose and without the kinds that nobody here reads.
func (s *scenario) openAPI(ctx context.Context) (any, error) {
	b, err := s.kube.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/kubeovn.io/v1").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var doc struct {
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	schemas := map[string]any{}
	for name, schema := range doc.Components.Schemas {
		kind := name[strings.LastIndexByte(name, '.')+1:]
		if _, wanted := kinds[kind]; wanted && strings.HasPrefix(name, "io.kubeovn.") {
			schemas[name] = withoutProse(schema)
		}
	}
	return map[string]any{"components": map[string]any{"schemas": schemas}}, nil
}

func withoutProse(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if _, text := value.(string); key == "description" && text {
				delete(v, key)
				continue
			}
			v[key] = withoutProse(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutProse(v[i])
		}
	}
	return v
}

// inOVN complains unless the northbound database has our policy route, or has
// none.
func (s *scenario) inOVN(ctx context.Context, want bool) error {
	const query = `["OVN_Northbound",{"op":"select","table":"Logical_Router_Policy","where":[["priority","==",29500]],"columns":["match","action","nexthops"]}]`
	cmd := s.debian(ctx, "ovsdb-client", "transact", "tcp:127.0.0.1:6641", query)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("asking OVN: %w: %s", err, out)
	}
	if has := strings.Contains(string(out), "10.16.0.5") && strings.Contains(string(out), "10.16.0.99"); has != want {
		return fmt.Errorf("OVN has %s", out)
	}
	return nil
}
