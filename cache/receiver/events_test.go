package receiver

import (
	"testing"
)

const (
	caepBase = "https://schemas.openid.net/secevent/caep/event-type/"
	riscBase = "https://schemas.openid.net/secevent/risc/event-type/"
	ssfBase  = "https://schemas.openid.net/secevent/ssf/event-type/"
)

// TestEvents has each event type of CAEP, RISC and SSF, and what it does.
func TestEvents(t *testing.T) {
	sid := obj{"format": "opaque", "id": "s1"}
	device := obj{"format": "complex", "device": obj{"format": "opaque", "id": "d1"}, "tenant": obj{"format": "opaque", "id": "t1"}}
	mail := obj{"format": "email", "email": "u1@idp.example"}
	ofMail := obj{"format": "complex", "user": mail, "device": obj{"format": "opaque", "id": "d1"}}
	ofMailIn := obj{"format": "complex", "user": mail, "session": sid}
	const enough = "ignored unmatched: what the subject names is not known here, or not enough of it is"
	for _, c := range []struct {
		name    string
		event   string
		body    any
		subject obj // nil: the user u1
		want    string
	}{
		{"session of a user", caepBase + "session-revoked", obj{}, nil, "revoke ended subject=u1"},
		{"session by its id", caepBase + "session-revoked", obj{"event_timestamp": 1_799_999_000}, sid, "revoke ended session=s1 -1000"},
		{"session, any JSON value", caepBase + "session-revoked", true, nil, "revoke ended subject=u1"},
		{"session, null", caepBase + "session-revoked", nil, nil, "revoke ended subject=u1"},
		{"claims", caepBase + "token-claims-change", obj{"claims": obj{"role": "x"}}, obj{"format": "jwt_id", "iss": idp, "jti": "k1"}, "revoke ended token=k1"},
		{"credential created", caepBase + "credential-change", obj{"credential_type": "password", "change_type": "create"}, nil, "ignored a new credential ends no session"},
		{"credential updated", caepBase + "credential-change", obj{"credential_type": "password", "change_type": "update"}, nil, "revoke ended subject=u1"},
		{"credential revoked", caepBase + "credential-change", obj{"credential_type": "x509", "change_type": "revoke"}, nil, "revoke ended subject=u1"},
		{"credential deleted", caepBase + "credential-change", obj{"credential_type": "app", "change_type": "delete"}, nil, "revoke ended subject=u1"},
		{"credential, of an unknown kind", caepBase + "credential-change", obj{"credential_type": "okta-verify", "change_type": "reset"}, nil, "revoke ended subject=u1"},
		{"credential, who knows what", caepBase + "credential-change", obj{}, nil, "revoke ended subject=u1"},
		{"assurance down", caepBase + "assurance-level-change", obj{"namespace": "NIST-AAL", "current_level": "nist-aal1", "change_direction": "decrease"}, nil, "revoke ended subject=u1"},
		{"assurance up", caepBase + "assurance-level-change", obj{"namespace": "NIST-AAL", "current_level": "nist-aal2", "change_direction": "increase"}, nil, "ignored a higher assurance level ends no session"},
		{"assurance down, by levels", caepBase + "assurance-level-change", obj{"namespace": "NIST-AAL", "current_level": "nist-aal1", "previous_level": "nist-aal2"}, nil, "revoke ended subject=u1"},
		{"assurance up, by levels", caepBase + "assurance-level-change", obj{"namespace": "NIST-AAL", "current_level": "nist-aal3", "previous_level": "nist-aal2"}, nil, "ignored a higher assurance level ends no session"},
		{"assurance on two scales", caepBase + "assurance-level-change", obj{"namespace": "NIST-AAL", "current_level": "nist-aal3", "previous_level": "nist-ial1"}, nil, "revoke ended subject=u1"},
		{"assurance, unknown way", caepBase + "assurance-level-change", obj{"namespace": "Retinal Scan", "current_level": "hi-res-scan"}, nil, "revoke ended subject=u1"},
		{"device not compliant", caepBase + "device-compliance-change", obj{"current_status": "not-compliant", "previous_status": "compliant"}, device, "signal compliance tenant=t1 device=d1 not-compliant deny"},
		{"device compliant", caepBase + "device-compliance-change", obj{"current_status": "compliant"}, device, "signal compliance tenant=t1 device=d1 compliant"},
		{"device by an opaque id", caepBase + "device-compliance-change", obj{"current_status": "not-compliant"}, obj{"format": "opaque", "id": "d1"}, "signal compliance device=d1 not-compliant deny"},
		{"device or user", caepBase + "device-compliance-change", obj{"current_status": "not-compliant"}, nil, "signal compliance subject=u1 not-compliant deny\nsignal compliance device=u1 not-compliant deny"},
		{"device of unknown state", caepBase + "device-compliance-change", obj{"current_status": "fine"}, device, "invalid_request: current_status is neither compliant nor not-compliant"},
		{"session established", caepBase + "session-established", obj{"acr": "AAL2"}, nil, "ignored the event ends nothing"},
		{"session presented", caepBase + "session-presented", obj{}, nil, "ignored the event ends nothing"},
		{"risk high", caepBase + "risk-level-change", obj{"principal": "USER", "current_level": "HIGH"}, nil, "signal risk subject=u1 HIGH deny"},
		{"risk medium", caepBase + "risk-level-change", obj{"principal": "USER", "current_level": "MEDIUM"}, nil, "signal risk subject=u1 MEDIUM"},
		{"risk low", caepBase + "risk-level-change", obj{"principal": "USER", "current_level": "LOW", "previous_level": "HIGH"}, nil, "signal risk subject=u1 LOW"},
		{"risk of a user's opaque id", caepBase + "risk-level-change", obj{"principal": "USER", "current_level": "HIGH"}, sid, "signal risk subject=s1 HIGH deny"},
		{"risk of a device", caepBase + "risk-level-change", obj{"principal": "DEVICE", "current_level": "HIGH"}, nil, "signal risk device=u1 HIGH deny"},
		{"risk of a session", caepBase + "risk-level-change", obj{"principal": "SESSION", "current_level": "HIGH"}, sid, "signal risk session=s1 HIGH deny"},
		{"risk of a tenant", caepBase + "risk-level-change", obj{"principal": "TENANT", "current_level": "HIGH"}, sid, "signal risk tenant=s1 HIGH deny"},
		{"risk of a group", caepBase + "risk-level-change", obj{"principal": "GROUP", "current_level": "HIGH"}, sid, `ignored unmatched: no session here is known by a subject of the format "opaque"`},
		{"risk, nobody says whose", caepBase + "risk-level-change", obj{"current_level": "HIGH"}, nil, "signal risk subject=u1 HIGH deny"},
		{"risk of an unknown level", caepBase + "risk-level-change", obj{"current_level": "high"}, nil, "invalid_request: current_level is not LOW, MEDIUM or HIGH"},
		{"risk, no level", caepBase + "risk-level-change", true, nil, "invalid_request: current_level is not LOW, MEDIUM or HIGH"},

		{"disabled", riscBase + "account-disabled", obj{"reason": "hijacking"}, nil, "revoke disabled subject=u1 until lifted"},
		{"purged", riscBase + "account-purged", obj{}, nil, "revoke disabled subject=u1 until lifted"},
		{"enabled", riscBase + "account-enabled", obj{}, nil, "lift disabled subject=u1"},
		{"credential change required", riscBase + "account-credential-change-required", obj{}, nil, "revoke ended subject=u1"},
		{"credential compromise", riscBase + "credential-compromise", obj{"credential_type": "password"}, nil, "revoke ended subject=u1"},
		{"sessions revoked", riscBase + "sessions-revoked", obj{}, nil, "revoke ended subject=u1"},
		{"identifier changed", riscBase + "identifier-changed", obj{"new-value": "x"}, obj{"format": "email", "email": "a@b.example"}, "ignored the event ends nothing"},
		{"identifier recycled", riscBase + "identifier-recycled", obj{}, nil, "ignored the event ends nothing"},
		{"opt in", riscBase + "opt-in", obj{}, nil, "ignored the event ends nothing"},
		{"opt out initiated", riscBase + "opt-out-initiated", obj{}, nil, "ignored the event ends nothing"},
		{"opt out cancelled", riscBase + "opt-out-cancelled", obj{}, nil, "ignored the event ends nothing"},
		{"opt out effective", riscBase + "opt-out-effective", obj{}, nil, "ignored the event ends nothing"},
		{"recovery activated", riscBase + "recovery-activated", obj{}, nil, "ignored the event ends nothing"},
		{"recovery information", riscBase + "recovery-information-changed", obj{}, nil, "ignored the event ends nothing"},

		// What lasts does not lock out a device for a user who is not known.
		{"sessions on a device", caepBase + "session-revoked", obj{}, ofMail, "revoke ended device=d1 without user"},
		{"disabled on a device", riscBase + "account-disabled", obj{}, ofMail, enough},
		{"enabled on a device", riscBase + "account-enabled", obj{}, ofMail, enough},
		{"risk on a device", caepBase + "risk-level-change", obj{"principal": "USER", "current_level": "HIGH"}, ofMail, enough},
		{"risk of the very device", caepBase + "risk-level-change", obj{"principal": "DEVICE", "current_level": "HIGH"}, ofMail, "signal risk device=d1 HIGH deny without user"},
		{"risk in a session", caepBase + "risk-level-change", obj{"principal": "USER", "current_level": "HIGH"}, ofMailIn, "signal risk session=s1 HIGH deny without user"},
		{"compliance of the very device", caepBase + "device-compliance-change", obj{"current_status": "not-compliant"}, ofMail, "signal compliance device=d1 not-compliant deny without user"},

		{"verification", ssfBase + "verification", obj{"state": "s"}, obj{"format": "opaque", "id": "stream"}, "verified s on stream"},
		{"verification unasked", ssfBase + "verification", obj{}, obj{"format": "opaque", "id": "stream"}, "verified on stream"},
		{"verification, odd state", ssfBase + "verification", obj{"state": 1}, nil, "invalid_request: state is missing, empty, too long or not a string"},
		{"stream updated", ssfBase + "stream-updated", obj{"status": "paused"}, nil, "stream_updated paused"},
		{"stream updated to nothing", ssfBase + "stream-updated", obj{}, nil, "invalid_request: status is missing, empty, too long or not a string"},

		{"unknown in CAEP", caepBase + "session-begun", obj{}, nil, "ignored unknown event type"},
		{"unknown", "urn:ietf:params:scim:event:create", []any{1}, nil, "ignored unknown event type"},
		{"Google's, but not by its profile", "https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked", obj{}, nil, "ignored unknown event type"},
		{"unmatched", riscBase + "account-disabled", obj{}, obj{"format": "email", "email": "a@b.example"}, `ignored unmatched: no session here is known by a subject of the format "email"`},
		{"opaque without a kind", riscBase + "account-disabled", obj{}, sid, `ignored unmatched: no session here is known by a subject of the format "opaque"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			more := obj{}
			if c.subject != nil {
				more["sub_id"] = c.subject
			}
			if got := read(t, "", set(c.event, c.body, more)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// read gives what a SET of a profile means, or why it is refused.
func read(t testing.TB, profile string, claims any) string {
	t.Helper()
	return readAs(t, Config{Profile: profile}, setType, claims)
}

func readAs(t testing.TB, c Config, typ string, claims any) string {
	t.Helper()
	s := newSigner(t, "k")
	c.Keys = keys(t, s)
	_, effects, err := testCore(t, c).readSET(s.sign(t, typ, claims), moment)
	if err != nil {
		return err.Error()
	}
	return show(effects)
}

func TestTimeOfEvent(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile string
		event   string
		iat     int64 // from the moment
		stamp   any
		want    string
	}{
		{"none", "", "caep/event-type/session-revoked", -5, nil, "revoke ended subject=u1 -5"},
		{"before iat", "", "caep/event-type/session-revoked", -5, 1_799_999_000, "revoke ended subject=u1 -1000"},
		{"fraction", "", "caep/event-type/session-revoked", 0, 1_799_999_999.9, "revoke ended subject=u1 -1"},
		{"our clock is slow", "", "caep/event-type/session-revoked", 10, 1_800_000_020, "revoke ended subject=u1 +20"},
		{"in the future", "", "caep/event-type/session-revoked", 0, 1_800_000_031, "revoke ended subject=u1 (event_timestamp is in the future)"},
		{"iat in the future", "", "caep/event-type/session-revoked", 3600, nil, "revoke ended subject=u1 (iat is in the future)"},
		{"an old SET", "", "caep/event-type/session-revoked", -8_000_000, nil, "revoke ended subject=u1 -8000000"},
		{"an old event in an old SET", "", "caep/event-type/session-revoked", -8_000_000, 1_791_999_999, "revoke ended subject=u1 -8000001"},
		{"zero", "", "caep/event-type/session-revoked", 0, 0, "revoke ended subject=u1 (event_timestamp is long before iat)"},
		{"negative", "", "caep/event-type/session-revoked", 0, -1, "revoke ended subject=u1 (event_timestamp is no time)"},
		{"milliseconds, strict", "", "caep/event-type/session-revoked", 0, 1_799_999_000_123, "revoke ended subject=u1 (event_timestamp is no time)"},
		{"milliseconds of a moment long ago, strict", "", "caep/event-type/session-revoked", 0, 150_000_000_000, "revoke ended subject=u1 (event_timestamp is in the future)"},
		{"milliseconds", "okta", "caep/event-type/session-revoked", 0, 1_799_999_000_123, "revoke ended subject=u1 -1000"},
		{"milliseconds, in the future", "okta", "caep/event-type/session-revoked", 0, 1_900_000_000_000, "revoke ended subject=u1 (event_timestamp is in the future)"},
		{"seconds all the same", "okta", "caep/event-type/session-revoked", 0, 1_799_999_000, "revoke ended subject=u1 -1000"},
		{"text", "", "caep/event-type/session-revoked", 0, "1799999000", "invalid_request: event_timestamp is not a number"},
		{"what lets in is not moved to now", "", "risc/event-type/account-enabled", -100, 1_900_000_000, "lift disabled subject=u1 -100 (event_timestamp is in the future)"},
		{"what lets in may be old", "", "risc/event-type/account-enabled", 0, 1_700_000_000, "lift disabled subject=u1 -100000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := obj{}
			if c.stamp != nil {
				body["event_timestamp"] = c.stamp
			}
			got := read(t, c.profile, set("https://schemas.openid.net/secevent/"+c.event, body, obj{"iat": moment.Unix() + c.iat}))
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
