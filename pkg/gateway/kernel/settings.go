package kernel

import (
	"errors"
	"fmt"
	"io/fs"
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

// path is where a setting can be read, and written if /proc/sys is writable.
func path(s desired.Setting) string {
	family := "ipv4"
	if s.V6 {
		family = "ipv6"
	}
	return filepath.Join("/proc/sys/net", family, "conf", s.Link, s.Key)
}

// readSettings reads the settings that want names. /proc/sys may be read-only.
func readSettings(want []desired.Setting) ([]desired.Setting, error) {
	var have []desired.Setting
	for _, s := range want {
		var err error
		if s.Value, err = readSetting(s); err != nil {
			return nil, err
		}
		have = append(have, s)
	}
	return have, nil
}

func readSetting(s desired.Setting) (int, error) {
	b, err := os.ReadFile(path(s))
	if s.V6 && errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("there is no %s: IPv6 is switched off in this node's kernel", s.Name())
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", s.Name(), err)
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", s.Name(), err)
	}
	// By 1 the kernel listens to routers only where it is no router itself.
	if s.V6 && s.Key == "accept_ra" && value == 1 {
		forwarding, err := readSetting(desired.Setting{V6: true, Link: s.Link, Key: "forwarding"})
		if err != nil {
			return 0, err
		}
		if forwarding != 0 {
			value = 0
		}
	}
	return value, nil
}

func (k *Kernel) set(s desired.Setting) error {
	if s.V6 {
		return write(s)
	}
	return k.setByNetlink(s)
}

// write writes a setting that the kernel takes by its file only. Where that
// is read-only, somebody outside has to do it.
func write(s desired.Setting) error {
	err := os.WriteFile(path(s), []byte(strconv.Itoa(s.Value)), 0)
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return errors.New("it cannot be set from within the Pod: " +
			"the CNI plugin tuning has to set it, in the NetworkAttachmentDefinition of the attachment")
	}
	return err
}

// setByNetlink sets an interface's setting of IPv4: a Pod that is not
// privileged has /proc/sys read-only, but the kernel takes the same values
// with CAP_NET_ADMIN here.
func (k *Kernel) setByNetlink(s desired.Setting) error {
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
