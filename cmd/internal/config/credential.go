package config

import (
	"slices"
	"strings"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

func (c *Config) checkCredentials() {
	if len(c.Credentials) == 0 {
		c.say("credentials", "credentials is empty: no request could carry one")
	}
	first := map[Credential]int{}
	for i := range c.Credentials {
		credential, path := &c.Credentials[i], index("credentials", i)
		credential.Header = strings.ToLower(credential.Header)
		if !c.file.Clean(path) || !c.checkCredential(path, credential) {
			continue
		}
		if j, twice := first[*credential]; twice {
			c.say(path, "duplicate credential %s: it is %s already", credential.Header+credential.Cookie+credential.Certificate, index("credentials", j))
		}
		first[*credential] = i
	}
	keys := slices.Contains(c.carriers(), "api_key")
	if c.file.Clean("credentials") && c.file.Clean("api_keys") && keys != (c.APIKeys != nil) {
		if keys {
			c.say("credentials", "credentials has a header for API keys, and api_keys.file does not say which there are")
		} else {
			c.say("api_keys", "api_keys is set, and no credential is of kind api_key: add {header: x-api-key, kind: api_key} to credentials")
		}
	}
}

// takenHeaders mean something else, to us or to the proxy.
var takenHeaders = []string{"authorization", "cookie", "dpop", "host", "x-forwarded-client-cert"}

// checkCredential tells whether one entry is right by itself.
func (c *Config) checkCredential(path string, one *Credential) bool {
	places := 0
	for _, place := range []string{one.Header, one.Cookie, one.Certificate} {
		if place != "" {
			places++
		}
	}
	switch {
	case places != 1:
		c.say(path, "%s must name a header, a cookie or a certificate, one of the three", path)
	case one.Kind != "" && one.Header == "":
		c.say(path+".kind", "%s.kind is %s: an API key comes in a header", path, one.Kind)
	case one.Kind != "" && (slices.Contains(takenHeaders, one.Header) || strings.HasPrefix(one.Header, "x-holdfast-") || !isToken(one.Header)):
		c.say(path+".header", "%s.header is %s: an API key has a header of its own, such as x-api-key", path, strict.Quote(one.Header))
	case one.Kind == "" && one.Header != "" && one.Header != "authorization":
		c.say(path+".header", "%s.header is %s: a token comes in authorization; a header of API keys needs kind: api_key", path, strict.Quote(one.Header))
	case one.Cookie != "" && !isToken(one.Cookie):
		c.say(path+".cookie", "%s.cookie is %s: it must be a cookie's name, such as __Host-session", path, strict.Quote(one.Cookie))
	case prefixOf(one.Cookie) != "" && !strings.HasPrefix(one.Cookie, prefixOf(one.Cookie)):
		c.say(path+".cookie", "%s.cookie is %s: write %s as it stands here, since browsers hold no other spelling to be the same cookie", path, strict.Quote(one.Cookie), prefixOf(one.Cookie))
	case one.Certificate != "" && !slices.ContainsFunc(c.Issuers, func(i Issuer) bool { return i.TrustDomain != "" }) && !c.file.Refused("issuers"):
		c.say(path+".certificate", "%s.certificate is %s, and no issuer is a trust_domain: every certificate would be of an unknown one", path, one.Certificate)
	default:
		return true
	}
	return false
}

// prefixOf is the prefix of RFC 6265bis, 4.1.3, that a browser sees in a
// cookie's name: it does not look at case.
func prefixOf(name string) string {
	for _, prefix := range []string{"__Host-", "__Secure-"} {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return prefix
		}
	}
	return ""
}

// Advice is what could be better in a valid configuration.
func (c *Config) Advice() (advice []Problem) {
	for i := range c.Credentials {
		name := c.Credentials[i].Cookie
		if name == "" || strings.HasPrefix(name, "__Host-") {
			continue
		}
		advice = append(advice, c.file.Note(index("credentials", i)+".cookie",
			"any host of the site, and without TLS anybody on the way, can set a cookie named %s: name it __Host-%s, with Secure, Path=/ and no Domain, which browsers then hold it to",
			name, strings.TrimPrefix(name, "__Secure-")))
	}
	return advice
}

// isToken: RFC 9110, 5.6.2, which RFC 6265bis takes for a cookie's name.
func isToken(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

// carriers are the ways in which a credential may come, in a class's words.
func (c *Config) carriers() (all []string) {
	for i := range c.Credentials {
		if word := c.Credentials[i].Word(); !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	return all
}

// Word is what a class's match calls a credential of this place.
func (c *Credential) Word() string {
	switch {
	case c.Cookie != "":
		return "cookie"
	case c.Certificate != "":
		return "certificate"
	case c.Kind != "":
		return c.Kind
	}
	return "header"
}
