package kubeovn

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestCacheKnowsTheSubnetOfAPod(t *testing.T) {
	ip := func(name, rest string) *unstructured.Unstructured { return thing(t, "IP", name, `"spec":{`+rest+`}`) }
	c, _ := started(t, fakeClient(
		ip("web-1.shop", `"subnet":"pods","podName":"web-1","namespace":"shop","v4IpAddress":"10.16.0.7","v6IpAddress":"FD00:0::7"`),
		ip("web-1.shop.vpc", `"subnet":"vpc-pods","podName":"web-1","namespace":"test","v4IpAddress":"10.16.0.7"`),
		ip("vm.shop", `"subnet":"vms","podName":"vm","namespace":"shop","podType":"VirtualMachine","v4IpAddress":"10.16.0.8"`),
		ip("node-n1", `"subnet":"join","podName":"n1","v4IpAddress":"100.64.0.2"`),
	))
	eventually(t, "synced", c.Synced)
	for name, tc := range map[string]struct{ addr, namespace, pod, want string }{
		"by IPv4":                              {"10.16.0.7", "shop", "web-1", "pods"},
		"by IPv6, however it is spelled":       {"fd00::7", "shop", "web-1", "pods"},
		"the same address in another VPC":      {"10.16.0.7", "test", "web-1", "vpc-pods"},
		"a virtual machine in some Pod":        {"10.16.0.8", "shop", "virt-launcher-vm-x", "vms"},
		"a virtual machine of others":          {"10.16.0.8", "test", "virt-launcher-vm-x", ""},
		"another Pod had the address":          {"10.16.0.7", "shop", "web-2", ""},
		"a Pod in the network of its node":     {"192.168.0.2", "shop", "agent", ""},
		"a Pod that has the address of a node": {"100.64.0.2", "shop", "n1", ""},
		"an endpoint that is no Pod":           {"10.16.0.7", "", "", ""},
		"an IPv4 address as IPv6 writes it":    {"::ffff:10.16.0.7", "shop", "web-1", "pods"},
		"an address without a record":          {"10.16.0.99", "shop", "web-1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := c.SubnetOfPodIP(netip.MustParseAddr(tc.addr), tc.namespace, tc.pod)
			if got != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q, %v", got, ok)
			}
		})
	}
}
