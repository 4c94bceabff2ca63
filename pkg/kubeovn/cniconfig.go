package kubeovn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// UsableType is the CNI plugin that a gateway can be attached by. The gateway
// gives its interface an address that no IPAM plugin knows of and answers ARP
// for it, which needs a second MAC address on the node's NIC: macvlan.
const UsableType = "macvlan"

// CNIConfig is a NetworkAttachmentDefinition's spec.config: one plugin, or a
// list of plugins of which the first makes the interface.
type CNIConfig struct {
	// Type is the type of the first plugin, always UsableType.
	Type string
	// Master is the node's NIC; empty: the one with the default route.
	Master string
	// Mode is macvlan's mode; empty: bridge.
	Mode string

	object map[string]any
}

// The reasons why a NetworkAttachmentDefinition cannot be used.
const (
	// ReasonInvalidConfig: spec.config is not a CNI configuration.
	ReasonInvalidConfig = "InvalidAttachmentConfig"
	// ReasonUnusableType: the plugin is another one than UsableType.
	ReasonUnusableType = "UnusableAttachmentType"
)

// ConfigError says why a NetworkAttachmentDefinition cannot be used: Reason is
// one of the constants above, Message names the field and the remedy.
type ConfigError struct{ Reason, Message string }

func (e *ConfigError) Error() string { return e.Message }

func invalid(format string, args ...any) *ConfigError {
	return &ConfigError{ReasonInvalidConfig, "spec.config " + fmt.Sprintf(format, args...)}
}

// ParseNADConfig reads the spec.config of a NetworkAttachmentDefinition. Every
// error is a *ConfigError.
func ParseNADConfig(config string) (*CNIConfig, error) {
	if strings.TrimSpace(config) == "" {
		return nil, invalid("is empty: write the CNI configuration into it, a JSON object such as "+
			`{"cniVersion": "0.3.0", "type": %q, "master": "eth0", "mode": "bridge"}`, UsableType)
	}
	object, err := parseObject(config)
	if err != nil {
		return nil, err
	}
	plugin := object
	prefix := ""
	if list, ok := object["plugins"]; ok {
		plugins, ok := list.([]any)
		if !ok || len(plugins) == 0 {
			return nil, invalid(`has a field "plugins" that is no list of plugins: make it a list with a %s plugin first`, UsableType)
		}
		for i, p := range plugins {
			if _, ok := p.(map[string]any); !ok {
				return nil, invalid("has no JSON object at plugins[%d]: make it an object with a type", i)
			}
		}
		plugin = plugins[0].(map[string]any)
		prefix = "plugins[0]."
	}

	c := &CNIConfig{object: object}
	for _, f := range []struct {
		name string
		to   *string
	}{{"type", &c.Type}, {"master", &c.Master}, {"mode", &c.Mode}} {
		v := lookup(plugin, f.name)
		s, ok := v.(string)
		if v != nil && !ok {
			return nil, invalid("has a field %q that is no string: make it one", prefix+f.name)
		}
		*f.to = s
	}
	switch c.Type {
	case UsableType:
		return c, nil
	case "":
		return nil, invalid("names no plugin: set %q to %q", prefix+"type", UsableType)
	}
	return nil, &ConfigError{ReasonUnusableType, fmt.Sprintf(
		"spec.config: %stype is %q, a gateway can only be attached by %q: use a NetworkAttachmentDefinition of that type", prefix, c.Type, UsableType)}
}

// WithoutIPAM returns the configuration for a copy of the attachment whose
// Pods get no address: every ipam is removed, the rest means the same. Its
// network is called name unless the configuration names it already. The same
// input gives the same bytes.
//
// With sysctls the CNI plugin "tuning" comes last, which sets them in the Pod's
// network namespace from the node's side: a Pod that is not privileged cannot
// (https://www.cni.dev/plugins/current/meta/tuning/).
func (c *CNIConfig) WithoutIPAM(name string, sysctls map[string]string) (string, error) {
	out := withoutIPAM(c.object)
	if old, _ := out["name"].(string); old == "" {
		out["name"] = name
	}
	if len(sysctls) > 0 {
		out = chain(out, map[string]any{"type": "tuning", "sysctl": sysctls})
	}
	if plugins, ok := out["plugins"].([]any); ok {
		copies := make([]any, len(plugins))
		for i, p := range plugins {
			copies[i] = p
			if object, ok := p.(map[string]any); ok {
				copies[i] = withoutIPAM(object)
			}
		}
		out["plugins"] = copies
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return "", fmt.Errorf("writing the CNI configuration of %s: %w", name, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// chain puts a plugin behind those of a configuration, which becomes a list if
// it is of one plugin only.
func chain(config, plugin map[string]any) map[string]any {
	list := map[string]any{}
	if plugins, ok := config["plugins"].([]any); ok {
		maps.Copy(list, config)
		list["plugins"] = append(slices.Clone(plugins), plugin)
		return list
	}
	first := maps.Clone(config)
	for _, key := range []string{"cniVersion", "name"} {
		if v, ok := first[key]; ok {
			list[key] = v
			delete(first, key)
		}
	}
	list["plugins"] = []any{first, plugin}
	return list
}

// withoutIPAM copies an object but its ipam, however that is spelled: the
// plugins decode their configuration without regard to case.
func withoutIPAM(object map[string]any) map[string]any {
	out := make(map[string]any, len(object)+1)
	for k, v := range object {
		if !strings.EqualFold(k, "ipam") {
			out[k] = v
		}
	}
	return out
}

// lookup finds a field as the plugins do: by its name, else by its name in
// another case.
func lookup(object map[string]any, name string) any {
	if v, ok := object[name]; ok {
		return v
	}
	for _, k := range slices.Sorted(maps.Keys(object)) {
		if strings.EqualFold(k, name) {
			return object[k]
		}
	}
	return nil
}

// parseObject reads one JSON object and nothing else. Numbers keep their
// digits.
func parseObject(config string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(config))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		if comment, ok := findComment(config); ok {
			return nil, invalid("is not JSON: it holds the comment %q; JSON has no comments, and multus and the CNI plugins refuse them too: remove it", comment)
		}
		return nil, invalid("is not JSON (%v): correct it", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, invalid(`is JSON but no object: write {"type": %q, ...}`, UsableType)
	}
	return object, nil
}

// findComment returns the start of the first // or /* outside of a string.
func findComment(config string) (string, bool) {
	inString, escaped := false, false
	for i := 0; i < len(config); i++ {
		switch ch := config[i]; {
		case escaped:
			escaped = false
		case inString && ch == '\\':
			escaped = true
		case ch == '"':
			inString = !inString
		case !inString && ch == '/' && i+1 < len(config) && (config[i+1] == '/' || config[i+1] == '*'):
			line, _, _ := strings.Cut(config[i:], "\n")
			const most = 40
			if r := []rune(strings.TrimSpace(line)); len(r) > most {
				return string(r[:most]) + "...", true
			}
			return strings.TrimSpace(line), true
		}
	}
	return "", false
}
