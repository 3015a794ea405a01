package config

import (
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jwks"
)

const (
	maxSkew    = 5 * time.Minute // more would revive tokens that are long dead
	minRefresh = time.Second
)

func (v *validator) issuers() {
	if len(v.Issuers) == 0 {
		v.say("issuers", "no issuers: without one no token can be accepted")
	}
	first := map[string]int{}
	for i := range v.Issuers {
		is, path := &v.Issuers[i], index("issuers", i)
		if j, twice := first[is.Issuer]; twice && is.Issuer != "" {
			v.say(path+".issuer", "duplicate issuer %s: it is %s already", quote(is.Issuer), index("issuers", j))
		} else {
			first[is.Issuer] = i
		}
		v.issuer(path, is)
	}
}

func (v *validator) issuer(path string, is *Issuer) {
	if is.Issuer != "" {
		if err := jwks.CheckIssuerURL(is.Issuer); err != nil {
			v.say(path+".issuer", "%s.issuer: %s", path, err)
		}
	}
	switch {
	case is.JWKSURI != "" && is.JWKSFile != "":
		v.say(path+".jwks_file", "%s has both jwks_uri and jwks_file: keys come from one of them", path)
	case is.JWKSURI != "":
		if err := jwks.CheckURL(is.JWKSURI); err != nil {
			v.say(path+".jwks_uri", "%s.jwks_uri: %s", path, err)
		}
	}
	// "" would quietly mean discovery.
	for _, key := range []struct{ name, value string }{{"jwks_uri", is.JWKSURI}, {"jwks_file", is.JWKSFile}} {
		if p := path + "." + key.name; v.given(p) && key.value == "" {
			v.say(p, "%s is empty: leave it out to discover the keys at the issuer", p)
		}
	}
	for j, audience := range is.Audiences {
		v.nonEmpty(index(path+".audiences", j), audience)
	}
	for j, typ := range is.TokenTypes {
		v.tokenType(index(path+".token_types", j), typ)
	}
	if is.ClockSkew > maxSkew {
		v.say(path+".clock_skew", "%s.clock_skew is %s: it must be at most %s, since it keeps expired tokens alive", path, short(is.ClockSkew), short(maxSkew))
	}
	if is.Refresh < minRefresh {
		v.say(path+".refresh", "%s.refresh is %s: it must be at least %s", path, short(is.Refresh), short(minRefresh))
	}
}

func (v *validator) tokenType(path, typ string) {
	if strings.ContainsAny(typ, " \t,;*\"") {
		v.say(path, "%s is %s: it must be a media type such as at+jwt", path, quote(typ))
	}
}

// mediaType is a JOSE typ as it is compared: RFC 7515, 4.1.9.
func mediaType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

func (v *validator) credentials() {
	if len(v.Credentials) == 0 {
		v.say("credentials", "credentials is empty: no request could carry one")
	}
	first := map[string]int{}
	for i, c := range v.Credentials {
		path := index("credentials", i) + ".header"
		name := strings.ToLower(c.Header)
		if name == "" {
			continue
		}
		if name != "authorization" {
			v.say(path, "%s is %s: this version of holdfast reads only authorization", path, quote(c.Header))
			continue
		}
		if j, twice := first[name]; twice {
			v.say(path, "duplicate credential %s: it is %s already", name, index("credentials", j))
		}
		first[name] = i
		v.Credentials[i].Header = name
	}
}
