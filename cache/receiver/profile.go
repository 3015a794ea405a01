package receiver

import (
	"fmt"
	"strings"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// profile names in what a transmitter differs from SSF 1.0. Nothing else is
// forgiven, and strict forgives nothing.
type profile struct {
	name string

	noType     bool // typ may be missing; another one is refused all the same
	jwtSub     bool // the claim sub may stand beside the subject; it is not read
	anyTXN     bool // txn may be a number
	slash      bool // one "/" at the end of an issuer makes no other issuer
	streamAud  bool // aud may be "<audience>/<stream>"
	inEvent    bool // the subject may be a member of the event, and complex without saying so
	oldFormats bool // subject_type for format, iss-sub for iss_sub, members that no format has
	millis     bool // times of events may be milliseconds
	oldTypes   bool // event types from before 1.0: see legacy in risc.go
}

// profiles are those that a configuration may name.
var profiles = [...]profile{
	{name: "strict"},
	// Keycloak 26: aud is "client/stream"; its streams of the type SSE_CAEP
	// have the subject inside the event.
	{name: "keycloak", streamAud: true, inEvent: true},
	// Okta: subject inside the event without a format of its own, milliseconds.
	{name: "okta", inEvent: true, millis: true},
	// Google Cross-Account Protection, a RISC draft: subject_type, an issuer
	// with a slash that its ID tokens do not have, event types of its own.
	{name: "google", jwtSub: true, slash: true, inEvent: true, oldFormats: true, oldTypes: true},
	// SSE, as before 1.0: authentik, Apple Business Manager and others.
	{name: "sse", noType: true, jwtSub: true, anyTXN: true, inEvent: true, oldFormats: true, millis: true, oldTypes: true},
}

// findProfile reads the configuration's word; "" is strict.
func findProfile(name string) (*profile, error) {
	if name == "" {
		name = "strict"
	}
	var names []string
	for i := range profiles {
		if profiles[i].name == name {
			return &profiles[i], nil
		}
		names = append(names, profiles[i].name)
	}
	return nil, fmt.Errorf("unknown profile %q; one of %s", name, strings.Join(names, ", "))
}

// sameIssuer compares issuers: byte by byte, but for the profile's slash.
func (p *profile) sameIssuer(a, b string) bool {
	return a == b || p.slash && strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}

// sameAudience compares one value of aud with ours.
func (p *profile) sameAudience(claim, ours string) bool {
	return claim == ours || p.streamAud && strings.HasPrefix(claim, ours+"/")
}

// format is the name of a subject's format, "" where it says none.
func (p *profile) format(subject *jose.Object) string {
	v, ok := subject.Get("format")
	if !ok && p.oldFormats {
		v, _ = subject.Get("subject_type")
	}
	name, _ := v.Text()
	if p.oldFormats && name != "ip-addresses" {
		name = strings.ReplaceAll(name, "-", "_")
	}
	return name
}
