package token

import (
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// SVID is what an X.509-SVID says. It is shared: nobody may change it.
type SVID struct {
	ID                  SPIFFEID // with a path
	X5T                 string   // x5t#S256
	Serial              string   // lower-case hex
	NotBefore, NotAfter time.Time
}

// Workload makes an X.509-SVID itself the credential: a session of the
// workload that it names, issued at the start of its validity. The proxy has
// checked chain and key in the handshake; here its trust domain must be one of
// the configured ones, and its time has to hold.
func (v *Verifier) Workload(c *SVID, now time.Time, s *Session) reason.Reason {
	*s = Session{}
	i := v.issuers[c.ID.TrustDomain()]
	if i == nil || !i.TrustDomain {
		return reason.IssuerUnknown
	}
	*s = Session{
		Issuer: i.Name, Sub: c.ID.String(), SID: c.ID.String(), JTI: c.Serial,
		Issued: c.NotBefore, NotBefore: c.NotBefore, Until: c.NotAfter,
		Confirm: Confirmation{Present: true, X5T: c.X5T},
	}
	s.name(c.X5T) // the credential is the certificate: its hash is x5t#S256
	v.classify(s, nil)
	return s.timely(i, now)
}

// workload finds the trust domain of a JWT-SVID: that of sub (JWT-SVID, 3).
func (v *Verifier) workload(sub string) (*issuer, reason.Reason) {
	id, ok := ParseSPIFFEID(sub)
	if !ok || id.Path() == "" {
		return nil, reason.ClaimsInvalid
	}
	i := v.issuers[id.TrustDomain()]
	if i == nil || !i.TrustDomain {
		return nil, reason.IssuerUnknown
	}
	return i, reason.OK
}
