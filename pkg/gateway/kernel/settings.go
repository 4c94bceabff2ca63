package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
)

// devconf are the numbers of the per-interface IPv4 settings in the kernel's
// interface, IPV4_DEVCONF_* of linux/ip.h.
var devconf = map[string]int{
	"forwarding":   1,
	"rp_filter":    8,
	"arp_announce": 18,
	"arp_ignore":   19,
}

// iflaInetConf is IFLA_INET_CONF of linux/if_link.h.
const iflaInetConf = 1

// readSettings reads the settings that want names. /proc/sys may be read-only.
func readSettings(want []desired.Setting) ([]desired.Setting, error) {
	var have []desired.Setting
	for _, s := range want {
		b, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4/conf", s.Link, s.Key))
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", s.Key, s.Link, err)
		}
		if s.Value, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", s.Key, s.Link, err)
		}
		have = append(have, s)
	}
	return have, nil
}

// set writes a setting by netlink: a Pod that is not privileged has /proc/sys
// read-only, but the kernel takes the same values with CAP_NET_ADMIN here.
func (k *Kernel) set(s desired.Setting) error {
	number, ok := devconf[s.Key]
	if !ok {
		return fmt.Errorf("no number is known for setting %q", s.Key)
	}
	link, err := k.link(s.Link)
	if err != nil {
		return err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(link.Attrs().Index)
	attr := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	attr.AddRtAttr(unix.AF_INET, nil).AddRtAttr(iflaInetConf, nil).AddRtAttr(number, nl.Uint32Attr(uint32(s.Value)))
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.AddData(msg)
	req.AddData(attr)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
