package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// maxClasses is what a verified token can remember: one bit a class.
const maxClasses = 64

func (c *Config) checkClasses() {
	switch {
	case len(c.Classes) == 0:
		c.say("classes", "no classes: without one every session is denied; a class without match takes them all")
	case len(c.Classes) > maxClasses:
		c.say(index("classes", maxClasses), "%d classes: there may be at most %d", len(c.Classes), maxClasses)
	}
	first := map[string]int{}
	for i := range c.Classes {
		class, path := &c.Classes[i], index("classes", i)
		c.checkName("class", path, class.Name, first, i)
		c.checkClassMatch(path+".match", &class.Match)
		c.checkDemands(path, &Require{
			MaxAuthAge: class.MaxAuthAge, ACR: class.ACR, MaxAge: class.MaxAge,
			MaxLifetime: class.MaxLifetime, AbsoluteTimeout: class.AbsoluteTimeout, Scopes: class.Scopes,
		})
		c.checkMatchable(path+".match", &class.Match)
		c.checkLogin(path+".login_url", class.LoginURL)
		c.checkReached(path, i)
	}
}

// checkLogin holds login_url to where a browser may be sent. What the request
// puts into it may stand in its query only, where it can not change the rest.
func (c *Config) checkLogin(path, login string) {
	if !c.file.Given(path) {
		return
	}
	const place = "{url}"
	u, err := url.Parse(strings.ReplaceAll(login, place, "url"))
	switch before, _, _ := strings.Cut(login, "?"); {
	case err == nil && u.User != nil:
		c.say(path, "%s has a user in it, which would end up in everybody's browser: remove it", path)
	case err != nil || u.Host == "":
		c.say(path, "%s is %s: it must be a URL such as https://login.example/?return_to={url}", path, strict.Quote(login))
	case u.Scheme != "https" && (u.Scheme != "http" || !isLocal(net.JoinHostPort(u.Hostname(), "0"))):
		c.say(path, "%s is %s: it must be https, or http to a loopback host", path, strict.Quote(login))
	case strings.Contains(before, place) || strings.Contains(u.Fragment, "url") && strings.Contains(login[strings.IndexByte(login, '#')+1:], place):
		c.say(path, "%s is %s: {url} may stand in the query only", path, strict.Quote(login))
	case strings.ContainsAny(strings.ReplaceAll(login, place, ""), "{} \"\\<>") || strings.ContainsFunc(login, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		c.say(path, "%s is %s: it has characters that no URL has; the only place holder is {url}", path, strict.Quote(login))
	}
}

// checkReached refuses a class of which every session belongs to an earlier one.
func (c *Config) checkReached(path string, i int) {
	class := &c.Classes[i]
	for j := range i {
		earlier, other := &c.Classes[j], index("classes", j)
		if c.file.Clean(path+".match") && c.file.Clean(other+".match") && c.classCovers(&earlier.Match, &class.Match) {
			c.say(path+".match", "%s can never match: %s before it takes every session that it would; put it first or narrow the other",
				label("class", path, class.Name), label("class", other, earlier.Name))
			return
		}
	}
}

// checkName refuses names that could not stand in a header, a metric's label or a
// command line, and those that are used twice.
func (c *Config) checkName(kind, path, name string, first map[string]int, i int) {
	if name == "" {
		return // refused as missing or empty
	}
	bad := func(c rune) bool {
		return c > 0x7f || !isAlnum(byte(c)) && !strings.ContainsRune("._-", c)
	}
	if len(name) > 64 || strings.ContainsFunc(name, bad) {
		c.say(path+".name", "%s is no name for a %s: use up to 64 letters, digits, '.', '_' and '-'", strict.Quote(name), kind)
	}
	if j, twice := first[name]; twice {
		c.say(path+".name", "duplicate %s %s: the name is taken by %s", kind, name, index(strict.Parent(path), j))
		return
	}
	first[name] = i
}

// label is what a class or route is called in messages.
func label(kind, path, name string) string {
	if name == "" {
		return path
	}
	return kind + " " + name
}

// checkDemands holds what a class and a route's require have in common.
func (c *Config) checkDemands(path string, r *Require) {
	for _, limit := range []struct {
		key   string
		value time.Duration
	}{
		{"max_auth_age", r.MaxAuthAge},
		{"max_age", r.MaxAge},
		{"max_lifetime", r.MaxLifetime},
		{"absolute_timeout", r.AbsoluteTimeout},
	} {
		if p := path + "." + limit.key; c.file.Given(p) {
			c.positive(p, limit.value, "; leave it out for no limit")
		}
	}
	for key, values := range map[string][]string{"acr": r.ACR, "scopes": r.Scopes} {
		for i, value := range values {
			// RFC 6749, 3.3: what can stand in a list that spaces separate,
			// inside the quotes of a challenge.
			bad := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\' }
			if value == "" || strings.ContainsFunc(value, bad) {
				p := index(path+"."+key, i)
				c.say(p, "%s is %s: it must be one word, without spaces and quotes", p, strict.Quote(value))
			}
		}
	}
}

func (c *Config) checkClassMatch(path string, m *ClassMatch) {
	var names, types []string
	for i := range c.Issuers {
		names = append(names, c.Issuers[i].Name())
		if len(m.Issuers) > 0 && !slices.Contains(m.Issuers, c.Issuers[i].Name()) {
			continue
		}
		for _, typ := range c.Issuers[i].TokenTypes {
			types = append(types, mediaType(typ))
		}
	}
	if c.APIKeys != nil {
		names = append(names, token.APIKeys)
	}
	if c.untyped() {
		types = append(types, "")
	}
	for i, issuer := range m.Issuers {
		if !slices.Contains(names, issuer) && c.cleanIssuers("issuer") && c.cleanIssuers("trust_domain") {
			c.say(c.element(path+".issuers", i), "%s names the issuer %s, which is not configured%s", path, strict.Quote(issuer), strict.DidYouMean(issuer, names))
		}
	}
	for i, word := range m.Credential {
		if p := c.element(path+".credential", i); c.file.Clean(p) && c.file.Clean("credentials") && !slices.Contains(c.carriers(), word) {
			c.say(p, "%s asks for a credential of kind %s, and credentials names none", path, word)
		}
	}
	for i, client := range m.Clients {
		c.nonEmpty(c.element(path+".clients", i), client)
	}
	for i, typ := range m.Types {
		c.checkTokenType(c.element(path+".types", i), typ)
		if c.file.Clean(path+".issuers") && c.cleanIssuers("token_types") && !slices.Contains(types, mediaType(typ)) {
			c.say(c.element(path+".types", i), "%s names the type %s, which the token_types of its issuers do not accept", path, strict.Quote(typ))
		}
	}
	for name := range m.Claims {
		if slices.Contains([]string{"exp", "nbf", "iat"}, name) {
			c.say(path+".claims."+name, "%s.claims: %s is a time, which no fixed value can equal", path, name)
		}
	}
}

// checkMatchable refuses a class that no session can be of: what it asks for
// does not come together in any of the credentials that there are.
func (c *Config) checkMatchable(path string, m *ClassMatch) {
	if !c.file.Clean(path) || !c.file.Clean("credentials") || c.file.Refused("issuers") || !c.cleanIssuers("token_types") {
		return
	}
	words := []string(m.Credential)
	if len(words) == 0 {
		words = c.carriers()
	}
	if !slices.ContainsFunc(words, func(word string) bool { return c.comesWith(word, m) }) {
		c.say(path, "%s can never match: no %s has these issuers, clients, types and claims together", path, strings.Join(words, " or "))
	}
}

// comesWith tells whether a session of a credential of this kind can have what
// a class asks for.
func (c *Config) comesWith(word string, m *ClassMatch) bool {
	asks := func(list OneOf, has ...string) bool {
		return len(list) == 0 || slices.ContainsFunc(has, func(s string) bool { return slices.Contains(list, s) })
	}
	only := func(names ...string) bool {
		for name := range m.Claims {
			if !slices.Contains(names, name) {
				return false
			}
		}
		return true
	}
	switch word {
	case "api_key":
		return asks(m.Issuers, token.APIKeys) && asks(m.Types, "") && only("sub", "client_id", "tenant", "jti")
	case "certificate":
		for i := range c.Issuers {
			if d := c.Issuers[i].TrustDomain; d != "" && asks(m.Issuers, d) {
				return len(m.Clients) == 0 && asks(m.Types, "") && only("sub", "jti")
			}
		}
		return false
	}
	for i := range c.Issuers {
		one := &c.Issuers[i]
		var types []string
		if one.Introspection != nil {
			types = append(types, "")
		}
		if !one.Opaque() {
			for _, typ := range one.TokenTypes {
				types = append(types, mediaType(typ))
			}
		}
		var wanted OneOf
		for _, typ := range m.Types {
			wanted = append(wanted, mediaType(typ))
		}
		if asks(m.Issuers, one.Name()) && asks(wanted, types...) {
			return true
		}
	}
	return false
}

// element is the path of a list's element, or of the single value that stands
// in for a list.
func (c *Config) element(path string, i int) string {
	if p := index(path, i); c.file.Has(p) {
		return p
	}
	return path
}

// cleanIssuers tells whether a key of all issuers was read without a problem.
func (c *Config) cleanIssuers(key string) bool {
	if c.file.Refused("issuers") {
		return false
	}
	for i := range c.Issuers {
		if !c.file.Clean(fmt.Sprintf("issuers[%d].%s", i, key)) {
			return false
		}
	}
	return true
}

// classCovers tells whether every session that later matches was matched by
// earlier before. It errs to "no": a refusal must be right.
func (c *Config) classCovers(earlier, later *ClassMatch) bool {
	for name, want := range earlier.Claims {
		have, ok := later.Claims[name]
		if !ok || !covers(want, have) {
			return false
		}
	}
	same := func(s string) string { return s }
	return coversBy(earlier.Credential, later.Credential, same, c.carriers()) &&
		coversBy(earlier.Issuers, later.Issuers, same, c.allIssuers()) &&
		coversBy(earlier.Clients, later.Clients, same, nil) &&
		coversBy(earlier.Types, later.Types, mediaType, c.allTypes())
}

func (c *Config) allIssuers() (all []string) {
	for i := range c.Issuers {
		all = append(all, c.Issuers[i].Name())
	}
	if c.APIKeys != nil {
		all = append(all, token.APIKeys)
	}
	return all
}

func (c *Config) allTypes() []string {
	all := map[string]bool{}
	for i := range c.Issuers {
		for _, typ := range c.Issuers[i].TokenTypes {
			all[mediaType(typ)] = true
		}
	}
	if c.untyped() {
		all[""] = true
	}
	return slices.Collect(maps.Keys(all))
}

// untyped tells that some sessions have no JOSE typ whatever token_types say:
// opaque tokens, API keys, certificates.
func (c *Config) untyped() bool {
	return c.APIKeys != nil || slices.Contains(c.carriers(), "certificate") ||
		slices.ContainsFunc(c.Issuers, func(i Issuer) bool { return i.Introspection != nil })
}

// coversBy compares lists in which none means any, and any is at most the
// closed set all, where there is one.
func coversBy(earlier, later []string, form func(string) string, all []string) bool {
	if len(earlier) == 0 {
		return true
	}
	if len(later) == 0 {
		if later = all; len(later) == 0 {
			return false
		}
	}
	for _, s := range later {
		if !slices.ContainsFunc(earlier, func(e string) bool { return form(e) == form(s) }) {
			return false
		}
	}
	return true
}

// covers tells whether set holds every element of subset.
func covers(set, subset []string) bool {
	return !slices.ContainsFunc(subset, func(s string) bool { return !slices.Contains(set, s) })
}
