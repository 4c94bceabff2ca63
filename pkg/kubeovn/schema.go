package kubeovn

import (
	"encoding/json"
	"fmt"
	"strings"
)

// neededFields are the fields of Kube-OVN's kinds that nothing works without.
// The API server drops a field that a definition does not know, without a
// word: an address that is asked for would be forgotten, a granted one never be
// seen. "[]" stands for the members of a list.
var neededFields = map[Kind][]string{
	KindSubnet: {"spec.provider", "spec.cidrBlock", "spec.gateway"},
	KindVip:    {"spec.subnet", "spec.v4ip", "spec.v6ip", "status.v4ip", "status.v6ip"},
	KindIP:     {"spec.podName", "spec.namespace", "spec.subnet", "spec.v4IpAddress", "spec.v6IpAddress"},
	KindVpc: {
		"spec.policyRoutes[].priority", "spec.policyRoutes[].match",
		"spec.policyRoutes[].action", "spec.policyRoutes[].nextHopIP",
	},
}

// lackingFields reads the API server's OpenAPI document of Kube-OVN's group and
// returns the needed fields that the definitions lack, by kind. A kind that the
// document does not have is not judged: that it cannot be read is told
// otherwise.
func lackingFields(openAPI []byte) (map[Kind][]string, error) {
	var document struct {
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(openAPI, &document); err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document of %s: %w", VipResource.GroupVersion(), err)
	}
	lacking := map[Kind][]string{}
	for kind, fields := range neededFields {
		schema, ok := document.Components.Schemas["io.kubeovn.v1."+string(kind)]
		if !ok {
			continue
		}
		for _, field := range fields {
			if !hasField(schema, strings.Split(strings.ReplaceAll(field, "[]", ".[]"), ".")) {
				lacking[kind] = append(lacking[kind], field)
			}
		}
	}
	return lacking, nil
}

// hasField reports whether an object of a schema can have a field.
func hasField(schema any, path []string) bool {
	s, ok := schema.(map[string]any)
	if !ok {
		return false
	}
	if len(path) == 0 || s["x-kubernetes-preserve-unknown-fields"] == true {
		return true
	}
	if path[0] == "[]" {
		return hasField(s["items"], path[1:])
	}
	properties, _ := s["properties"].(map[string]any)
	return hasField(properties[path[0]], path[1:])
}
