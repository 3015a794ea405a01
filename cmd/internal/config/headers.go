package config

import (
	"slices"
	"strings"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// hopByHop are fields of one connection (RFC 9110, 7.6.1) and those that frame
// a message: to set them would change the request's meaning for the upstream.
var hopByHop = []string{
	"connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade",
}

func (c *Config) checkHeaders() {
	h := &c.Headers
	set := map[string]string{}
	for _, f := range []struct {
		path string
		name *string
	}{
		{"headers.subject", &h.Subject},
		{"headers.session", &h.Session},
		{"headers.class", &h.Class},
	} {
		*f.name = strings.ToLower(*f.name)
		name := *f.name
		why := badHeader(name)
		if why == "" && (name == "authorization" || name == "cookie") {
			why = "it carries the client's credentials"
		}
		if why != "" {
			c.say(f.path, "%s cannot be %s: %s", f.path, strict.Quote(name), why)
			continue
		}
		if other, twice := set[name]; twice {
			c.say(f.path, "%s is %s, which is %s already", f.path, name, other)
			continue
		}
		set[name] = f.path
	}
	for i, name := range h.Remove {
		path := index("headers.remove", i)
		name = strings.ToLower(name)
		h.Remove[i] = name
		if why := badHeader(name); why != "" {
			c.say(path, "%s cannot be %s: %s", path, strict.Quote(name), why)
		}
		// Envoy removes after it has set.
		if other, both := set[name]; both {
			c.say(path, "%s is %s, which is set as %s: it would be removed again", path, name, other)
		}
	}
}

// badHeader says why a request header of this name can not be set or removed.
func badHeader(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case strings.HasPrefix(name, ":"):
		return "it is a pseudo-header"
	case strings.ContainsFunc(name, func(c rune) bool { return c >= 0x7f || !isTokenByte(byte(c)) }):
		return "it is not the name of a header"
	case name == "host":
		return "it decides where the request goes"
	case slices.Contains(hopByHop, name):
		return "it belongs to the connection"
	case strings.HasPrefix(name, "x-envoy-"):
		return "Envoy gives it a meaning of its own"
	}
	return ""
}
