package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

func (v *validator) listeners() {
	l := &v.Listen
	v.address("listen.check.address", l.Check.Address)
	v.address("listen.admin.address", l.Admin.Address)
	if l.Check.Address == l.Admin.Address && !strings.HasSuffix(l.Check.Address, ":0") {
		v.say("listen.admin.address", "listen.admin.address is %s, which is listen.check.address too: give each its own", l.Admin.Address)
	}
	if t := l.Check.TLS; t != nil && len(t.ClientURIs) > 0 {
		for i, uri := range t.ClientURIs {
			if u, err := url.Parse(uri); err != nil || u.Scheme == "" || u.Host == "" {
				v.say(index("listen.check.tls.client_uris", i), "%s is no URI such as spiffe://prod.example/envoy", quote(uri))
			}
		}
		if t.ClientCAFile == "" {
			v.say("listen.check.tls.client_uris", "listen.check.tls.client_uris needs client_ca_file: without it no client certificate is verified")
		}
	}
	v.adminGuard()
	for _, later := range []struct{ path, address string }{
		{"listen.streams", l.Streams.Address},
		{"listen.events", l.Events.Address},
	} {
		if later.address != "" {
			v.say(later.path+".address", "%s is not supported by this version of holdfast: leave it out, or set its address to \"\" (off)", later.path)
		}
	}
}

// adminGuard: who can reach the admin listener can revoke every session.
func (v *validator) adminGuard() {
	a := &v.Listen.Admin
	if a.TokenFile != "" || a.TLS != nil && a.TLS.ClientCAFile != "" || isLocal(a.Address) {
		return
	}
	v.say("listen.admin.address",
		"listen.admin.address %s is reachable from other machines: set listen.admin.token_file or tls.client_ca_file, or listen on 127.0.0.1", quote(a.Address))
}

func (v *validator) address(path, address string) {
	if address == "" {
		v.say(path, "%s is empty: it must be host:port or unix:///path", path)
		return
	}
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		file, ok := strings.CutPrefix(socket, "//")
		switch {
		case !ok || !strings.HasPrefix(file, "/") || strings.HasSuffix(file, "/"):
			v.say(path, "%s is %s: a socket is written unix:///path/to/socket", path, quote(address))
		case len(file) > 107: // sun_path of unix(7), with its NUL
			v.say(path, "%s has a path of %d bytes: a socket's path has at most 107", path, len(file))
		}
		return
	}
	if strings.Contains(address, "://") {
		v.say(path, "%s is %s: it must be host:port or unix:///path, without a scheme", path, quote(address))
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		v.say(path, "%s is %s: it must be host:port, such as 127.0.0.1:9191 or [::1]:9191, or unix:///path", path, quote(address))
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		v.say(path, "%s has the port %s: it must be a number from 0 to 65535", path, quote(port))
		return
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHostName(host) {
		v.say(path, "%s has the host %s, which is neither an IP address nor a name", path, quote(host))
	}
}

// isLocal tells whether only this machine reaches an address.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // refused as an address already
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// isHostName takes names of letters, digits, "-", "_" in labels of up to 63.
func isHostName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlnum(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
