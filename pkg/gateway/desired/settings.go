package desired

// settings4 are the settings that IPv4 needs. Each of them is of one
// interface, and the kernel takes it by netlink.
func settings4(cluster, attachment string) []Setting {
	return []Setting{
		{Link: cluster, Key: "forwarding", Value: 1},
		{Link: attachment, Key: "forwarding", Value: 1},
		// Loose, because the reverse path of a client is in Table, which
		// the strict check would look up without the iif rules.
		{Link: cluster, Key: "rp_filter", Value: 2},
		{Link: attachment, Key: "rp_filter", Value: 2},
	}
}

// arpSettings make net1 speak for its own addresses only, never for the Pod's.
// They are for every gateway: the Pod of one that serves IPv6 alone may have
// an IPv4 address too.
func arpSettings(attachment string) []Setting {
	return []Setting{
		{Link: attachment, Key: "arp_ignore", Value: 1},
		{Link: attachment, Key: "arp_announce", Value: 2},
	}
}

// settings6 are the settings that IPv6 needs. The kernel takes them by files
// only, which a gateway cannot write: they are set from outside, when the
// attachment is made. There is no more than these: the kernel forwards IPv6
// between all interfaces or none, it has no reverse path check of its own, and
// an interface answers for its own addresses only.
func settings6(attachment string) []Setting {
	return []Setting{
		{V6: true, Link: "all", Key: "forwarding", Value: 1},
		// A router on the attachment would give the Pod an address of the
		// Subnet that nobody reserved, and a default route beside eth0's.
		{V6: true, Link: attachment, Key: "accept_ra", Value: 0},
		{V6: true, Link: attachment, Key: "disable_ipv6", Value: 0},
	}
}
