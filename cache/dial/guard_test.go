package dial

import (
	"net/netip"
	"testing"
)

var (
	public = guard{}
	named  = guard{loopback: true}
	plain  = guard{loopback: true, plain: true}
)

// TestGuard: JK08.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		address               string
		public, named, plains bool
	}{
		{"93.184.216.34", true, true, false},
		{"10.1.2.3", true, true, false}, // identity providers live in private networks
		{"192.168.0.1", true, true, false},
		{"100.64.0.1", true, true, false},
		{"2606:2800:220:1::1", true, true, false},
		{"fd12:3456::1", true, true, false},
		{"64:ff9b::5db8:d822", true, true, false}, // NAT64 of 93.184.216.34
		{"127.0.0.1", false, true, true},
		{"127.255.255.254", false, true, true},
		{"::1", false, true, true},
		{"::ffff:127.0.0.1", false, true, true},
		{"0.0.0.0", false, false, false},
		{"0.1.2.3", false, false, false},
		{"::", false, false, false},
		{"::ffff:0.0.0.0", false, false, false},
		{"169.254.169.254", false, false, false},
		{"169.254.0.1", false, false, false},
		{"::ffff:169.254.169.254", false, false, false},
		{"::169.254.169.254", false, false, false},
		{"::127.0.0.1", false, false, false},
		{"::ffff:0:127.0.0.1", false, false, false},
		{"64:ff9b::a9fe:a9fe", false, false, false},
		{"64:ff9b::7f00:1", false, false, false},
		{"64:ff9b:1::a9fe:a9fe", false, false, false},
		{"2002:a9fe:a9fe::1", false, false, false},
		{"2002:7f00:1::", false, false, false},
		{"2001:0:4136:e378:8000:63bf:5601:5601", false, false, false}, // Teredo of 169.254.169.254
		{"fe80::1", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"2606:2800:220:1::1%eth0", false, false, false},
		{"fec0::1", false, false, false},
		{"fd00:ec2::254", false, false, false},
		{"fd20:ce::254", false, false, false},
		{"100.100.100.200", false, false, false},
		{"168.63.129.16", false, false, false},
		{"192.0.0.192", false, false, false},
		{"224.0.0.1", false, false, false},
		{"239.255.255.255", false, false, false},
		{"ff02::1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"240.0.0.1", false, false, false},
	} {
		for _, g := range []struct {
			name string
			guard
			want bool
		}{{"public", public, c.public}, {"named loopback", named, c.named}, {"http", plain, c.plains}} {
			a := netip.MustParseAddr(c.address)
			if why := g.refuse(a); (why == "") != g.want {
				t.Errorf("%s: %s: refused %q, want allowed %v", g.name, c.address, why, g.want)
			}
			err := g.control("tcp", netip.AddrPortFrom(a, 443).String(), nil)
			if (err == nil) != g.want {
				t.Errorf("%s: control(%s) = %v", g.name, c.address, err)
			}
		}
	}
	for _, bad := range []string{"", "example.com:443", "127.0.0.1", "/run/socket", "@abstract"} {
		if named.control("tcp", bad, nil) == nil {
			t.Errorf("control(%q) allows what is no address", bad)
		}
	}
}
