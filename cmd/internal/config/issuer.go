package config

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-authz/holdfast/cache/jwks"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

const (
	maxSkew    = 5 * time.Minute // more would revive tokens that are long dead
	minRefresh = time.Second
)

func (c *Config) checkIssuers() {
	if len(c.Issuers) == 0 {
		c.say("issuers", "no issuers: without one no token can be accepted")
	}
	first := map[string]int{}
	for i := range c.Issuers {
		is, path := &c.Issuers[i], index("issuers", i)
		if j, twice := first[is.Issuer]; twice && is.Issuer != "" {
			c.say(path+".issuer", "duplicate issuer %s: it is %s already", strict.Quote(is.Issuer), index("issuers", j))
		} else {
			first[is.Issuer] = i
		}
		c.checkIssuer(path, is)
	}
}

func (c *Config) checkIssuer(path string, is *Issuer) {
	switch {
	case is.Issuer == "":
	case is.JWKSURI == "" && is.JWKSFile == "": // keys are looked for there
		if err := jwks.CheckIssuerURL(is.Issuer); err != nil {
			c.say(path+".issuer", "%s.issuer: %s", path, err)
		}
	case strings.ContainsFunc(is.Issuer, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		c.say(path+".issuer", "%s.issuer is %s: it is compared with iss as it is, and has white space in it", path, strict.Quote(is.Issuer))
	}
	switch {
	case is.JWKSURI != "" && is.JWKSFile != "":
		c.say(path+".jwks_file", "%s has both jwks_uri and jwks_file: keys come from one of them", path)
	case is.JWKSURI != "":
		if err := jwks.CheckURL(is.JWKSURI); err != nil {
			c.say(path+".jwks_uri", "%s.jwks_uri: %s", path, err)
		}
	}
	// "" would quietly mean discovery.
	for _, key := range []struct{ name, value string }{{"jwks_uri", is.JWKSURI}, {"jwks_file", is.JWKSFile}} {
		if p := path + "." + key.name; c.file.Given(p) && key.value == "" {
			c.say(p, "%s is empty: leave it out to discover the keys at the issuer", p)
		}
	}
	for j, audience := range is.Audiences {
		c.nonEmpty(index(path+".audiences", j), audience)
	}
	for j, typ := range is.TokenTypes {
		c.checkTokenType(index(path+".token_types", j), typ)
	}
	if is.ClockSkew > maxSkew {
		c.say(path+".clock_skew", "%s.clock_skew is %s: it must be at most %s, since it keeps expired tokens alive", path, strict.Short(is.ClockSkew), strict.Short(maxSkew))
	}
	if is.Refresh < minRefresh {
		c.say(path+".refresh", "%s.refresh is %s: it must be at least %s", path, strict.Short(is.Refresh), strict.Short(minRefresh))
	}
}

func (c *Config) checkTokenType(path, typ string) {
	if strings.ContainsAny(typ, " \t,;*\"") {
		c.say(path, "%s is %s: it must be a media type such as at+jwt", path, strict.Quote(typ))
	}
}

// mediaType is a JOSE typ as it is compared: RFC 7515, 4.1.9.
func mediaType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

func (c *Config) checkCredentials() {
	if len(c.Credentials) == 0 {
		c.say("credentials", "credentials is empty: no request could carry one")
	}
	first := map[Credential]int{}
	for i := range c.Credentials {
		credential, path := &c.Credentials[i], index("credentials", i)
		credential.Header = strings.ToLower(credential.Header)
		switch {
		case !c.file.Clean(path):
			continue
		case (credential.Header == "") == (credential.Cookie == ""):
			c.say(path, "%s must name a header or a cookie, one of the two", path)
			continue
		case credential.Header != "" && credential.Header != "authorization":
			c.say(path+".header", "%s.header is %s: this version of holdfast reads only authorization", path, strict.Quote(credential.Header))
			continue
		case credential.Cookie != "" && !isToken(credential.Cookie):
			c.say(path+".cookie", "%s.cookie is %s: it must be a cookie's name, such as __Host-session", path, strict.Quote(credential.Cookie))
			continue
		}
		if j, twice := first[*credential]; twice {
			c.say(path, "duplicate credential %s: it is %s already", credential.Header+credential.Cookie, index("credentials", j))
		}
		first[*credential] = i
	}
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
		word := "header"
		if c.Credentials[i].Cookie != "" {
			word = "cookie"
		}
		if !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	return all
}
