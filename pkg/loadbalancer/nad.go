package loadbalancer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// usableTypes are the CNI plugins that give a Pod an interface of its own on
// the attachment's layer 2 network, and that do so without an ipam plugin.
// ipvlan and vlan insist on one, and kube-ovn's own type needs its IPAM to
// give the Pod an address, which a gateway must not take.
var usableTypes = []string{"macvlan", "bridge", "ovs"}

// network is what the CNI configuration of an attachment says.
type network struct {
	// Type is the plugin that makes the interface.
	Type string
	// Master is the node's interface that the plugin builds on; empty if the
	// configuration names none.
	Master string
	// Bare is the configuration with every ipam removed, in canonical JSON.
	Bare string
}

// parseNetwork reads the CNI configuration of a NetworkAttachmentDefinition.
func parseNetwork(of attachment, config string) (network, *Problem) {
	const reason = "AttachmentConfigInvalid"
	field := fmt.Sprintf("NetworkAttachmentDefinition %s: spec.config", of)
	conf, err := decodeObject(config)
	if err != nil {
		return network{}, problemf(reason, "%s is not a CNI configuration in JSON: %v: correct it", field, err)
	}
	plugins := []map[string]any{conf}
	if list, isList := conf["plugins"]; isList {
		if plugins, err = asObjects(list); err != nil || len(plugins) == 0 {
			return network{}, problemf(reason, `%s: "plugins" must be a list of at least one CNI plugin configuration`, field)
		}
	}
	for _, plugin := range append(plugins, conf) {
		delete(plugin, "ipam")
	}
	main := plugins[0]
	n := network{}
	n.Type, _ = main["type"].(string)
	n.Master, _ = main["master"].(string)
	if !slices.Contains(usableTypes, n.Type) {
		return network{}, problemf("AttachmentTypeUnusable",
			"%s: a load balancer cannot use the CNI plugin type %q: use macvlan (or one of %s)", field, n.Type, strings.Join(usableTypes[1:], ", "))
	}
	bare, err := json.Marshal(conf)
	if err != nil {
		return network{}, problemf(reason, "%s: %v", field, err)
	}
	n.Bare = string(bare)
	return n, nil
}

// decodeObject reads exactly one JSON object, and numbers as they are written.
func decodeObject(s string) (map[string]any, error) {
	if strings.TrimSpace(s) == "" {
		return nil, errors.New("it is empty")
	}
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.UseNumber()
	var obj map[string]any
	if err := d.Decode(&obj); err != nil {
		return nil, err
	}
	if obj == nil {
		return nil, errors.New("it is null")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return obj, nil
}

func asObjects(v any) ([]map[string]any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("not a list")
	}
	objs := make([]map[string]any, len(list))
	for i, e := range list {
		if objs[i], ok = e.(map[string]any); !ok {
			return nil, fmt.Errorf("element %d is not an object", i)
		}
	}
	return objs, nil
}
