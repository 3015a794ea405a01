package dial

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
)

// guard decides which addresses a request may connect to. It runs on the address
// itself, between its resolution and the connect, so that a name cannot
// resolve to one thing when it is checked and to another when it is used.
//
// Private networks are allowed: identity providers live there. What is refused
// is where no identity provider lives, but credentials and services that trust
// their neighbours do.
type guard struct {
	loopback bool // the configured URL names loopback
	plain    bool // it is http: nothing but loopback
}

// refused are addresses, beside the classes that net/netip knows, that nothing
// is fetched from.
var refused = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),          // this network; Linux connects it to loopback
	netip.MustParsePrefix("240.0.0.0/4"),        // reserved and broadcast
	netip.MustParsePrefix("100.100.100.200/32"), // metadata: Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // metadata: Azure
	netip.MustParsePrefix("192.0.0.192/32"),     // metadata: Oracle Cloud
	netip.MustParsePrefix("fd00:ec2::/32"),      // metadata: AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // metadata: Google Cloud
	netip.MustParsePrefix("fec0::/10"),          // site-local, deprecated
}

// Prefixes whose addresses carry an IPv4 address, and the byte it begins at.
var carriers = []struct {
	netip.Prefix
	at   int
	mask byte // what its bytes are XORed with
}{
	{netip.MustParsePrefix("::/96"), 12, 0},           // RFC 4291, 2.5.5.1: IPv4-compatible
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0}, // RFC 2765: IPv4-translated
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},    // RFC 6052: NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12, 0},  // RFC 8215: NAT64 for local use
	{netip.MustParsePrefix("2002::/16"), 2, 0},        // RFC 3056: 6to4
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},    // RFC 4380: Teredo
}

// RefusedError is an address that the guard does not connect to.
type RefusedError struct {
	Address string
	Why     string
}

func (e *RefusedError) Error() string { return "address " + e.Address + " is refused: " + e.Why }

// control is a net.Dialer's Control.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &RefusedError{strconv.Quote(address), err.Error()}
	}
	if why := g.refuse(ap.Addr()); why != "" {
		return &RefusedError{ap.Addr().String(), why}
	}
	return nil
}

// refuse says why an address is refused, "" where it is not.
func (g guard) refuse(a netip.Addr) string {
	if a.Zone() != "" {
		return "it has a zone"
	}
	a = a.Unmap()
	switch {
	case a.IsUnspecified():
		return "it is unspecified"
	case a.IsLoopback():
		if !g.loopback {
			return "it is loopback, and the configured URL does not name loopback"
		}
		return ""
	case g.plain:
		return "http is for loopback only"
	case a.IsLinkLocalUnicast():
		return "it is link-local, where metadata services are"
	case a.IsMulticast():
		return "it is multicast"
	}
	for _, p := range refused {
		if p.Contains(a) {
			return "it is in " + p.String()
		}
	}
	for _, c := range carriers {
		if c.Contains(a) {
			return g.refuseCarried(a, c.at, c.mask)
		}
	}
	return ""
}

// refuseCarried judges the IPv4 address inside an IPv6 one, for which not even
// a URL that names loopback excuses loopback.
func (guard) refuseCarried(a netip.Addr, at int, mask byte) string {
	var in [4]byte
	wide := a.As16()
	copy(in[:], wide[at:])
	for i := range in {
		in[i] ^= mask
	}
	if why := (guard{}).refuse(netip.AddrFrom4(in)); why != "" {
		return "it carries an IPv4 address: " + why
	}
	return ""
}

func guardOf(u *url.URL) guard {
	return guard{loopback: NamesLoopback(u.Hostname()), plain: u.Scheme == "http"}
}

// dialer connects as the guard allows.
func (g guard) dialer() *net.Dialer { return &net.Dialer{Control: g.control} }
