package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

func (c *Config) checkListeners() {
	l := &c.Listen
	c.checkAddress("listen.check.address", l.Check.Address)
	c.checkAddress("listen.admin.address", l.Admin.Address)
	if l.Check.Address == l.Admin.Address && !strings.HasSuffix(l.Check.Address, ":0") {
		c.say("listen.admin.address", "listen.admin.address is %s, which is listen.check.address too: give each its own", l.Admin.Address)
	}
	if t := l.Check.TLS; t != nil && len(t.ClientURIs) > 0 {
		for i, uri := range t.ClientURIs {
			if u, err := url.Parse(uri); err != nil || u.Scheme == "" || u.Host == "" {
				c.say(index("listen.check.tls.client_uris", i), "%s is no URI such as spiffe://prod.example/envoy", strict.Quote(uri))
			}
		}
		if t.ClientCAFile == "" {
			c.say("listen.check.tls.client_uris", "listen.check.tls.client_uris needs client_ca_file: without it no client certificate is verified")
		}
	}
	c.checkAdminGuard()
	if l.Streams.Address != "" {
		c.say("listen.streams.address", "listen.streams is not supported by this version of holdfast: leave it out, or set its address to \"\" (off)")
	}
	if a := l.Events.Address; a != "" {
		c.checkAddress("listen.events.address", a)
		if (a == l.Check.Address || a == l.Admin.Address) && !strings.HasSuffix(a, ":0") {
			c.say("listen.events.address", "listen.events.address is %s, which another listener has: give each its own", a)
		}
	} else if l.Events.TLS != nil {
		c.say("listen.events.tls", "listen.events.tls is set, and listen.events.address is not")
	}
}

// checkAdminGuard: who can reach the admin listener can revoke every session.
func (c *Config) checkAdminGuard() {
	a := &c.Listen.Admin
	if a.TokenFile != "" || a.TLS != nil && a.TLS.ClientCAFile != "" || isLocal(a.Address) {
		return
	}
	c.say("listen.admin.address",
		"listen.admin.address %s is reachable from other machines: set listen.admin.token_file or tls.client_ca_file, or listen on 127.0.0.1", strict.Quote(a.Address))
}

func (c *Config) checkAddress(path, address string) {
	if address == "" {
		c.say(path, "%s is empty: it must be host:port or unix:///path", path)
		return
	}
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		file, ok := strings.CutPrefix(socket, "//")
		switch {
		case !ok || !strings.HasPrefix(file, "/") || strings.HasSuffix(file, "/"):
			c.say(path, "%s is %s: a socket is written unix:///path/to/socket", path, strict.Quote(address))
		case len(file) > 107: // sun_path of unix(7), with its NUL
			c.say(path, "%s has a path of %d bytes: a socket's path has at most 107", path, len(file))
		}
		return
	}
	if strings.Contains(address, "://") {
		c.say(path, "%s is %s: it must be host:port or unix:///path, without a scheme", path, strict.Quote(address))
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		c.say(path, "%s is %s: it must be host:port, such as 127.0.0.1:9191 or [::1]:9191, or unix:///path", path, strict.Quote(address))
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		c.say(path, "%s has the port %s: it must be a number from 0 to 65535", path, strict.Quote(port))
		return
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHostName(host) {
		c.say(path, "%s has the host %s, which is neither an IP address nor a name", path, strict.Quote(host))
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
