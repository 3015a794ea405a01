package receiver

import (
	"strings"

	"github.com/holdfast-authz/holdfast/cache"
)

const caepTypes = "https://schemas.openid.net/secevent/caep/event-type/"

// aUser is what a subject that is not complex names in most events.
var aUser = simpleKinds{issSub: cache.User}

// lasting is aUser for what does not end by a new login: a device must not be
// locked out for one of its users who is not known here.
var lasting = simpleKinds{issSub: cache.User, enough: cache.User | cache.Session | cache.Token}

// caep says what the events of CAEP 1.0 section 3 do here (contract §10). Where
// an event does not say which way things went, they went the bad way.
func caep(e *event, name string) (u rule, known bool, err error) {
	ended := rule{op: Revoke, simple: aUser}
	switch name {
	case "session-revoked": // 3.1: here an opaque id is a session's
		ended.simple.opaque = cache.Session
		return ended, true, nil
	case "token-claims-change": // 3.2: the token has the old claims
		return ended, true, nil
	case "credential-change": // 3.3
		if e.word("change_type") == "create" {
			u = ignored("a new credential ends no session")
			u.simple = aUser
			return u, true, nil
		}
		return ended, true, nil
	case "assurance-level-change": // 3.4
		if e.assuranceRose() {
			u = ignored("a higher assurance level ends no session")
			u.simple = aUser
			return u, true, nil
		}
		return ended, true, nil
	case "device-compliance-change": // 3.5
		return e.compliance()
	case "session-established", "session-presented": // 3.6, 3.7; RV27: it reinstates nobody
		return ignored("the event ends nothing"), true, nil
	case "risk-level-change": // 3.8
		return e.risk()
	}
	return u, false, nil
}

// word is a member that is a string.
func (e *event) word(name string) string {
	v, _ := e.body.Get(name)
	word, _ := v.Text()
	return word
}

// compliance: the subject is a device, which some call iss_sub as if it were a
// user. Each is tried.
func (e *event) compliance() (u rule, known bool, err error) {
	u = rule{
		op: Signal, cause: Compliance, level: e.word("current_status"),
		simple: simpleKinds{issSub: cache.User | cache.Device, opaque: cache.Device},
	}
	switch u.level {
	case "not-compliant":
		u.deny = true
	case "compliant":
	default:
		return u, true, malformed("current_status is neither compliant nor not-compliant")
	}
	return u, true, nil
}

// risk: principal says what kind of thing the subject is.
func (e *event) risk() (u rule, known bool, err error) {
	u = rule{op: Signal, cause: Risk, level: e.word("current_level"), simple: lasting}
	switch e.word("principal") {
	case "DEVICE":
		u.simple = simpleKinds{issSub: cache.Device, opaque: cache.Device}
	case "SESSION":
		u.simple.issSub, u.simple.opaque = 0, cache.Session
	case "TENANT":
		u.simple.issSub, u.simple.opaque = cache.Tenant, cache.Tenant
	case "USER":
		u.simple.opaque = cache.User
	case "ORG_UNIT", "GROUP": // no session has one
		u.simple.issSub = 0
	}
	switch u.level {
	case "HIGH":
		u.deny = true
	case "LOW", "MEDIUM":
	default:
		return u, true, malformed("current_level is not LOW, MEDIUM or HIGH")
	}
	return u, true, nil
}

// assuranceRose tells whether the level is known to be higher than before: by
// change_direction, else by two levels of one NIST scale.
func (e *event) assuranceRose() bool {
	switch e.word("change_direction") {
	case "increase":
		return true
	case "decrease":
		return false
	}
	scale, now, ok := nistLevel(e.word("current_level"))
	was, before, both := nistLevel(e.word("previous_level"))
	return ok && both && scale == was && now > before
}

// nistLevel takes apart nist-aal2 and its like (NIST SP 800-63).
func nistLevel(name string) (scale string, level byte, ok bool) {
	if len(name) != len("nist-aal1") || !strings.HasPrefix(name, "nist-") {
		return "", 0, false
	}
	level = name[len(name)-1]
	return name[:len(name)-1], level, '0' <= level && level <= '9'
}
