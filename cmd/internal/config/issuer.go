package config

import (
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cache/statuslist"
	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

const (
	maxSkew    = 5 * time.Minute // more would revive tokens that are long dead
	minRefresh = time.Second
)

func (c *Config) checkIssuers() {
	if len(c.Issuers) == 0 {
		c.say("issuers", "no issuers: without one no token can be accepted")
	}
	first, introspected := map[string]int{}, -1
	for i := range c.Issuers {
		is, path := &c.Issuers[i], index("issuers", i)
		if j, twice := first[is.Name()]; twice && is.Name() != "" {
			c.say(path+"."+is.key(), "duplicate issuer %s: it is %s already", strict.Quote(is.Name()), index("issuers", j))
		} else {
			first[is.Name()] = i
		}
		c.checkIssuer(path, is)
		if is.Introspection == nil {
			continue
		}
		if introspected >= 0 {
			c.say(path+".introspection", "%s.introspection: %s has one too, and a credential that is no JWT does not say whose it is", path, index("issuers", introspected))
		}
		introspected = i
		c.checkIntrospection(path+".introspection", is.Introspection)
	}
}

// key is the key that names the issuer.
func (i *Issuer) key() string {
	if i.TrustDomain != "" {
		return "trust_domain"
	}
	return "issuer"
}

func (c *Config) checkIssuer(path string, is *Issuer) {
	switch named := c.file.Given(path + ".issuer"); {
	case is.Name() == token.APIKeys:
		c.say(path+"."+is.key(), "%s.%s is %s, which is the name for all API keys", path, is.key(), is.Name())
	case named && c.file.Given(path+".trust_domain"):
		c.say(path+".trust_domain", "%s has both issuer and trust_domain: make two entries of it", path)
	case c.file.Given(path + ".trust_domain"):
		c.checkTrustDomain(path, is)
	case !named && c.file.Clean(path):
		c.say(path, "%s names neither issuer nor trust_domain", path)
	case is.Issuer == "":
		c.say(path+".issuer", "%s.issuer is empty", path)
	case is.Discovered():
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
	if lists := is.StatusLists; lists != nil {
		for j, prefix := range lists.URIs {
			if err := statuslist.CheckPrefix(prefix); err != nil {
				p := index(path+".status_lists.uris", j)
				c.say(p, "%s: %s", p, err)
			}
		}
		if is.Opaque() {
			c.say(path+".status_lists", "%s.status_lists: there are no keys of the issuer to verify them with", path)
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

func (c *Config) checkTrustDomain(path string, is *Issuer) {
	id, ok := token.ParseSPIFFEID("spiffe://" + is.TrustDomain)
	switch {
	case strings.HasPrefix(is.TrustDomain, "spiffe:"):
		c.say(path+".trust_domain", "%s.trust_domain is %s: write the domain alone, without spiffe://", path, strict.Quote(is.TrustDomain))
	case !ok || id.Path() != "":
		c.say(path+".trust_domain", "%s.trust_domain is %s: a trust domain has lower-case letters, digits, dots, dashes and underscores, such as prod.example", path, strict.Quote(is.TrustDomain))
	case is.JWKSURI == "" && is.JWKSFile == "":
		c.say(path, "%s: the keys of the trust domain %s are not known: set jwks_file or jwks_uri to its bundle", path, strict.Quote(is.TrustDomain))
	}
	if is.Introspection != nil {
		c.say(path+".introspection", "%s.introspection: a trust domain has nobody to ask", path)
	}
	for j, alg := range is.Algorithms {
		if !c.file.Given(path + ".algorithms") {
			break
		}
		if alg == "EdDSA" || alg == "Ed25519" {
			c.say(index(path+".algorithms", j), "%s is %s, which no JWT-SVID may have", index(path+".algorithms", j), alg)
		}
	}
}

// Bounds of introspection: a check waits for it.
const (
	maxIntrospection = 5 * time.Second
	maxAnswerTTL     = 5 * time.Minute
)

func (c *Config) checkIntrospection(path string, in *Introspection) {
	if in.URL != "" {
		if err := jwks.CheckURL(in.URL); err != nil {
			c.say(path+".url", "%s.url: %s", path, err)
		}
	}
	for _, limit := range []struct {
		key        string
		value, max time.Duration
		why        string
	}{
		{"timeout", in.Timeout, maxIntrospection, "the proxy does not wait for longer"},
		{"max_ttl", in.MaxTTL, maxAnswerTTL, "a token that is withdrawn at the issuer lives on for so long"},
	} {
		switch p := path + "." + limit.key; {
		case limit.value <= 0:
			c.positive(p, limit.value, "")
		case limit.value > limit.max:
			c.say(p, "%s is %s: it must be at most %s: %s", p, strict.Short(limit.value), strict.Short(limit.max), limit.why)
		}
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
