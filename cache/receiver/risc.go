package receiver

import (
	"strconv"
	"strings"
	"time"
)

const riscTypes = "https://schemas.openid.net/secevent/risc/event-type/"

// risc says what the events of RISC 1.0 section 2 do here (contract §10).
func risc(_ *event, name string) (u rule, known bool, err error) {
	switch name {
	case "account-credential-change-required", "credential-compromise", "sessions-revoked":
		return rule{op: Revoke, simple: aUser}, true, nil
	case "account-disabled", "account-purged":
		return rule{op: Revoke, cause: Disabled, untilLifted: true, simple: lasting}, true, nil
	case "account-enabled":
		return rule{op: Lift, cause: Disabled, simple: lasting}, true, nil
	case "identifier-changed", "identifier-recycled",
		"opt-in", "opt-out-initiated", "opt-out-cancelled", "opt-out-effective",
		"recovery-activated", "recovery-information-changed":
		return ignored("the event ends nothing"), true, nil
	}
	return u, false, nil
}

// legacyTypes are names of events from before 1.0 and what they are called now.
// A token-revoked of Google names a refresh token, which never comes here.
var legacyTypes = [...]struct{ old, now string }{
	{"https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked", riscTypes + "sessions-revoked"},
	{riscTypes + "verification", ssfTypes + "verification"},
	{"https://schemas.openid.net/secevent/sse/event-type/verification", ssfTypes + "verification"},
	{"https://schemas.openid.net/secevent/sse/event-type/stream-updated", ssfTypes + "stream-updated"},
}

// legacy gives the name that an event type has since 1.0.
func legacy(uri string) string {
	for _, t := range legacyTypes {
		if t.old == uri {
			return t.now
		}
	}
	return uri
}

// millis reads a time in milliseconds, and drops a fraction.
func millis(raw string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(raw, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < firstMillis || n/1000 >= firstMillis || strings.ContainsAny(fraction, "eE") {
		return time.Time{}, false
	}
	return time.UnixMilli(n).UTC(), true
}
