package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxClasses is what a verified token can remember: one bit a class.
const maxClasses = 64

func (v *validator) classes() {
	switch {
	case len(v.Classes) == 0:
		v.say("classes", "no classes: without one every session is denied; a class without match takes them all")
	case len(v.Classes) > maxClasses:
		v.say(index("classes", maxClasses), "%d classes: there may be at most %d", len(v.Classes), maxClasses)
	}
	first := map[string]int{}
	for i := range v.Classes {
		c, path := &v.Classes[i], index("classes", i)
		v.name("class", path, c.Name, first, i)
		v.classMatch(path+".match", &c.Match)
		v.demands(path, &Require{
			MaxAuthAge: c.MaxAuthAge, ACR: c.ACR, MaxAge: c.MaxAge,
			MaxLifetime: c.MaxLifetime, AbsoluteTimeout: c.AbsoluteTimeout, Scopes: c.Scopes,
		})
		for j := range i {
			if v.clean(path+".match") && v.clean(index("classes", j)+".match") && v.classCovers(&v.Classes[j].Match, &c.Match) {
				v.say(path+".match", "%s can never match: %s before it takes every session that it would; put it first or narrow the other", label("class", path, c.Name), label("class", index("classes", j), v.Classes[j].Name))
				break
			}
		}
	}
}

// name refuses names that could not stand in a header, a metric's label or a
// command line, and those that are used twice.
func (v *validator) name(kind, path, name string, first map[string]int, i int) {
	if name == "" {
		return // refused as missing or empty
	}
	bad := func(c rune) bool {
		return c > 0x7f || !isAlnum(byte(c)) && !strings.ContainsRune("._-", c)
	}
	if len(name) > 64 || strings.ContainsFunc(name, bad) {
		v.say(path+".name", "%s is no name for a %s: use up to 64 letters, digits, '.', '_' and '-'", quote(name), kind)
	}
	if j, twice := first[name]; twice {
		v.say(path+".name", "duplicate %s %s: the name is taken by %s", kind, name, index(parent(path), j))
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

// demands holds what a class and a route's require have in common.
func (v *validator) demands(path string, r *Require) {
	for _, limit := range []struct {
		key   string
		value time.Duration
	}{
		{"max_auth_age", r.MaxAuthAge},
		{"max_age", r.MaxAge},
		{"max_lifetime", r.MaxLifetime},
		{"absolute_timeout", r.AbsoluteTimeout},
	} {
		if p := path + "." + limit.key; v.given(p) {
			v.positive(p, limit.value, "; leave it out for no limit")
		}
	}
	for key, values := range map[string][]string{"acr": r.ACR, "scopes": r.Scopes} {
		for i, value := range values {
			// RFC 6749, 3.3: what can stand in a list that spaces separate,
			// inside the quotes of a challenge.
			bad := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\' }
			if value == "" || strings.ContainsFunc(value, bad) {
				p := index(path+"."+key, i)
				v.say(p, "%s is %s: it must be one word, without spaces and quotes", p, quote(value))
			}
		}
	}
}

func (v *validator) classMatch(path string, m *ClassMatch) {
	var names, types []string
	for i := range v.Issuers {
		names = append(names, v.Issuers[i].Issuer)
		if len(m.Issuers) > 0 && !slices.Contains(m.Issuers, v.Issuers[i].Issuer) {
			continue
		}
		for _, typ := range v.Issuers[i].TokenTypes {
			types = append(types, mediaType(typ))
		}
	}
	for i, issuer := range m.Issuers {
		if !slices.Contains(names, issuer) && v.cleanIssuers("issuer") {
			v.say(v.element(path+".issuers", i), "%s names the issuer %s, which is not configured%s", path, quote(issuer), didYouMean(issuer, names))
		}
	}
	for i, client := range m.Clients {
		v.nonEmpty(v.element(path+".clients", i), client)
	}
	for i, typ := range m.Types {
		v.tokenType(v.element(path+".types", i), typ)
		if v.clean(path+".issuers") && v.cleanIssuers("token_types") && !slices.Contains(types, mediaType(typ)) {
			v.say(v.element(path+".types", i), "%s names the type %s, which the token_types of its issuers do not accept", path, quote(typ))
		}
	}
	for name := range m.Claims {
		if slices.Contains([]string{"exp", "nbf", "iat"}, name) {
			v.say(path+".claims."+name, "%s.claims: %s is a time, which no fixed value can equal", path, name)
		}
	}
}

// element is the path of a list's element, or of the single value that stands
// in for a list.
func (v *validator) element(path string, i int) string {
	if p := index(path, i); v.d.values[p] != (place{}) {
		return p
	}
	return path
}

// clean tells whether nothing at or below a path was refused: only then can
// be said what it covers.
func (v *validator) clean(path string) bool { return !v.d.dirty[path] }

func (v *validator) cleanIssuers(key string) bool {
	if v.d.bad["issuers"] {
		return false
	}
	for i := range v.Issuers {
		if !v.clean(fmt.Sprintf("issuers[%d].%s", i, key)) {
			return false
		}
	}
	return true
}

// classCovers tells whether every session that later matches was matched by
// earlier before. It errs to "no": a refusal must be right.
func (v *validator) classCovers(earlier, later *ClassMatch) bool {
	for name, want := range earlier.Claims {
		have, ok := later.Claims[name]
		if !ok || !covers(want, have) {
			return false
		}
	}
	same := func(s string) string { return s }
	return coversBy(earlier.Credential, later.Credential, same, []string{"header"}) &&
		coversBy(earlier.Issuers, later.Issuers, same, v.allIssuers()) &&
		coversBy(earlier.Clients, later.Clients, same, nil) &&
		coversBy(earlier.Types, later.Types, mediaType, v.allTypes())
}

func (v *validator) allIssuers() (all []string) {
	for i := range v.Issuers {
		all = append(all, v.Issuers[i].Issuer)
	}
	return all
}

func (v *validator) allTypes() []string {
	all := map[string]bool{}
	for i := range v.Issuers {
		for _, typ := range v.Issuers[i].TokenTypes {
			all[mediaType(typ)] = true
		}
	}
	return slices.Collect(maps.Keys(all))
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
