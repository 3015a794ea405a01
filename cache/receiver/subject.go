package receiver

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// maxTargets bounds what one subject may come to: aliases, and the issuers for
// which a transmitter speaks.
const maxTargets = 16

// allSessions is the session id that stands for every session of the user
// (Keycloak's "log out all sessions"). As a sid it would end nothing.
const allSessions = "ALL"

// simpleKinds says what a subject names that is not complex, by its format. It
// depends on the event: an opaque id may be a session's or a device's. Of
// several kinds, each is tried: an id of one is not an id of another.
type simpleKinds struct {
	issSub, opaque cache.Kinds
	enough         cache.Kinds // of a complex subject that is not known in full; 0: narrow
}

// narrow are the kinds of which one must be known of a complex subject where
// not all of it is.
const narrow = cache.User | cache.Session | cache.Token | cache.Device

// roleKinds are the members of a complex subject (SSF 1.0, 3.3). Of a unit or a
// group no session here has a value.
var roleKinds = [...]struct {
	role string
	kind cache.Kinds
}{
	{"user", cache.User}, {"device", cache.Device}, {"session", cache.Session},
	{"application", cache.Client}, {"tenant", cache.Tenant}, {"org_unit", 0}, {"group", 0},
}

// formats are those of RFC 9493 and SSF 1.0 section 3.5 that are objects of
// strings, each with its members.
var formats = [...]struct {
	name    string
	members []string
}{
	{"account", []string{"uri"}},
	{"email", []string{"email"}},
	{"iss_sub", []string{"iss", "sub"}},
	{"opaque", []string{"id"}},
	{"phone_number", []string{"phone_number"}},
	{"did", []string{"url"}},
	{"uri", []string{"uri"}},
	{"jwt_id", []string{"iss", "jti"}},
	{"saml_assertion_id", []string{"issuer", "assertion_id"}},
	{"id_token_claims", []string{"iss", "sub"}}, // Google
}

// identifier is one reading of a subject that is not complex. A subject that no
// session here can be known by has none.
type identifier struct {
	kind   cache.Kinds // one
	issuer string      // "" where the format has none: any for which the transmitter speaks
	value  string
}

func (id identifier) all() bool { return id.kind == cache.Session && id.value == allSessions }

// target is whom an effect is about.
type target struct {
	issuer     string
	members    []cache.Member
	unrecorded []string
}

// reader reads the subjects of one transmitter.
type reader struct {
	profile *profile
	issuers []string // for whose subjects it speaks
}

// targets gives whom a subject names. Where that is nobody who could be known
// here, why says so. It refuses what is not well formed, and what belongs to an
// issuer for which the transmitter does not speak.
func (r *reader) targets(subject jose.Value, simple simpleKinds) (found []target, why string, refused *Refusal) {
	obj, ok := subject.Object()
	if !ok {
		return nil, "", malformed("the subject is not an object")
	}
	format := r.profile.format(obj)
	if format == "complex" || format == "" && r.profile.inEvent && isComplex(obj) {
		return r.complex(obj, cmp.Or(simple.enough, narrow))
	}
	ids, refused := r.identifiers(obj, simple, true)
	if refused != nil {
		return nil, "", refused
	}
	for _, id := range ids {
		if !id.all() { // whose?
			found = append(found, r.at(id.issuer, []cache.Member{{Kind: id.kind, Value: id.value}}, nil)...)
		}
	}
	if len(found) == 0 {
		return nil, "unmatched: no session here is known by a subject of the format " + quote(format), nil
	}
	return bounded(found)
}

func bounded(found []target) ([]target, string, *Refusal) {
	if len(found) > maxTargets {
		return nil, "", malformed("the subject has too many aliases")
	}
	return found, "", nil
}

// at gives a target at one issuer, or at each for which the transmitter speaks.
func (r *reader) at(issuer string, members []cache.Member, unrecorded []string) (found []target) {
	issuers := r.issuers
	if issuer != "" {
		issuers = []string{issuer}
	}
	for _, issuer := range issuers {
		found = append(found, target{issuer, members, unrecorded})
	}
	return found
}

// isComplex knows a complex subject that does not say so: each member is an object.
func isComplex(obj *jose.Object) bool {
	for _, m := range obj.Members() {
		if m.Value.Kind() != jose.Composite {
			return false
		}
	}
	return len(obj.Members()) > 0
}

// identifiers reads a subject of one of the simple formats, or aliases of them.
func (r *reader) identifiers(obj *jose.Object, simple simpleKinds, aliases bool) ([]identifier, *Refusal) {
	switch name := r.profile.format(obj); {
	case name == "":
		return nil, malformed("the subject has no format")
	case name == "aliases" && aliases:
		return r.aliases(obj, simple)
	case name == "aliases" || name == "complex":
		return nil, malformed("a subject of this format can not be part of another one")
	case name == "ip-addresses":
		return nil, r.addresses(obj)
	default:
		for i := range formats {
			if formats[i].name == name {
				return r.identifier(obj, name, formats[i].members, simple)
			}
		}
		return nil, nil // unknown: nobody here
	}
}

// aliases are several names of one subject: what matches any is meant
// (RFC 9493 section 3.2.8; they are not nested).
func (r *reader) aliases(obj *jose.Object, simple simpleKinds) (all []identifier, refused *Refusal) {
	v, _ := obj.Get("identifiers")
	items, ok := v.Items()
	if !ok || len(items) == 0 || !r.exactly(obj, "identifiers") {
		return nil, malformed("aliases without identifiers")
	}
	if len(items) > maxTargets {
		return nil, malformed("the subject has too many aliases")
	}
	for _, item := range items {
		alias, ok := item.Object()
		if !ok {
			return nil, malformed("an alias is not an object")
		}
		ids, refused := r.identifiers(alias, simple, false)
		if refused != nil {
			return nil, refused
		}
		all = append(all, ids...)
	}
	return all, nil
}

func (r *reader) addresses(obj *jose.Object) *Refusal {
	v, _ := obj.Get("ip-addresses")
	items, _ := v.Items()
	for _, item := range items {
		if text, _ := item.Text(); text == "" {
			return malformed("an IP address is not a string")
		}
	}
	if len(items) == 0 || !r.exactly(obj, "ip-addresses") {
		return malformed("the subject does not have the members of its format")
	}
	return nil
}

// identifier reads the members of a format: all of them, strings, not empty
// (RFC 9493 section 3).
func (r *reader) identifier(obj *jose.Object, name string, members []string, simple simpleKinds) ([]identifier, *Refusal) {
	var texts [2]string
	for i, member := range members {
		v, _ := obj.Get(member)
		text, _ := v.Text()
		if strings.TrimSpace(text) == "" || text == "*" || len(text) > cache.MaxValueBytes {
			return nil, malformed("member " + member + " of the subject is missing, empty, too long or not a string")
		}
		texts[i] = text
	}
	if !r.exactly(obj, members...) {
		return nil, malformed("the subject has members that its format does not have")
	}
	switch name {
	case "opaque":
		return kinds(simple.opaque, "", texts[0]), nil
	case "iss_sub", "id_token_claims", "jwt_id":
		issuer, refused := r.issuer(texts[0])
		if refused != nil {
			return nil, refused
		}
		if name == "jwt_id" {
			return kinds(cache.Token, issuer, texts[1]), nil
		}
		return kinds(simple.issSub, issuer, texts[1]), nil
	}
	return nil, nil // an e-mail address, a telephone number: no session has one
}

// kinds gives an identifier for each kind of a set.
func kinds(set cache.Kinds, issuer, value string) (ids []identifier) {
	for ; set != 0; set &= set - 1 {
		ids = append(ids, identifier{set & -set, issuer, value})
	}
	return ids
}

// exactly tells whether the subject has no members but these.
func (r *reader) exactly(obj *jose.Object, members ...string) bool {
	if r.profile.oldFormats {
		return true
	}
	for _, m := range obj.Members() {
		if m.Name != "format" && !slices.Contains(members, m.Name) {
			return false
		}
	}
	return true
}

// issuer gives the issuer of a subject in the spelling of its tokens.
func (r *reader) issuer(named string) (string, *Refusal) {
	for _, issuer := range r.issuers {
		if r.profile.sameIssuer(named, issuer) {
			return issuer, nil
		}
	}
	return "", refuse(accessDenied, "the transmitter does not speak for subjects of this issuer")
}

// complex reads a subject of several members, all of which must match.
//
// A member that no session here has a value for is left out, since the sessions
// that it names are among those that the rest names. What is left must still
// have one of the kinds that are enough: of (group, tenant) it would be the whole
// tenant. And a member whose very name is unknown may mean anything.
func (r *reader) complex(obj *jose.Object, enough cache.Kinds) (found []target, why string, refused *Refusal) {
	partial := []part{{}}
	var unrecorded []string
	named, all := false, false
	for _, m := range obj.Members() {
		if m.Name == "format" || m.Name == "subject_type" && r.profile.oldFormats {
			continue
		}
		i := slices.IndexFunc(roleKinds[:], func(k struct {
			role string
			kind cache.Kinds
		}) bool {
			return k.role == m.Name
		})
		if i < 0 {
			why = "unmatched: the subject has a member " + quote(m.Name) + " that is not known"
			continue // the rest may still be refused
		}
		member, ok := m.Value.Object()
		if !ok {
			return nil, "", malformed("member " + m.Name + " of the subject is not an object")
		}
		ids, refused := r.member(member, roleKinds[i].kind)
		if refused != nil {
			return nil, "", refused
		}
		named = true
		switch {
		case slices.ContainsFunc(ids, identifier.all):
			all = true
		case len(ids) == 0:
			unrecorded = append(unrecorded, m.Name)
		case len(partial)*len(ids) > maxTargets:
			return nil, "", malformed("the subject has too many aliases")
		default:
			partial = times(partial, ids)
		}
	}
	if !named && why == "" {
		return nil, "", malformed("the complex subject has no members")
	}
	if why != "" {
		return nil, why, nil
	}
	for _, p := range partial {
		known := len(p.members) > 0 && (len(unrecorded) == 0 || p.names(enough))
		if known && !p.differs && (!all || p.names(cache.User)) {
			found = append(found, r.at(p.issuer, p.members, unrecorded)...)
		}
	}
	if len(found) == 0 {
		return nil, "unmatched: what the subject names is not known here, or not enough of it is", nil
	}
	return bounded(found)
}

// member reads one member of a complex subject: its place says what its id is.
func (r *reader) member(obj *jose.Object, kind cache.Kinds) ([]identifier, *Refusal) {
	simple := simpleKinds{issSub: kind, opaque: kind}
	if kind == cache.Session {
		simple.issSub = 0 // a user's name, not a sid
	}
	return r.identifiers(obj, simple, true)
}

// part is a reading of some members of a complex subject.
type part struct {
	issuer  string
	members []cache.Member // in the order of the kinds
	differs bool           // its members can not be of one session
}

// times joins each reading with each reading of one more member.
func times(parts []part, ids []identifier) (joined []part) {
	for _, p := range parts {
		for _, id := range ids {
			joined = append(joined, p.with(id))
		}
	}
	return joined
}

func (p part) with(id identifier) part {
	if id.issuer != "" {
		p.differs = p.differs || p.issuer != "" && p.issuer != id.issuer
		p.issuer = id.issuer
	}
	at, twice := slices.BinarySearchFunc(p.members, id.kind, func(m cache.Member, k cache.Kinds) int { return cmp.Compare(m.Kind, k) })
	if twice {
		p.differs = p.differs || p.members[at].Value != id.value
		return p
	}
	p.members = slices.Insert(slices.Clone(p.members), at, cache.Member{Kind: id.kind, Value: id.value})
	return p
}

func (p *part) names(kinds cache.Kinds) bool {
	return slices.ContainsFunc(p.members, func(m cache.Member) bool { return m.Kind&kinds != 0 })
}
