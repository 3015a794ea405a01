package proof

import "github.com/holdfast-authz/holdfast/extauthz/token"

// Certificates remembers what it read of the certificates seen last, by what
// Envoy sends of them: a connection repeats its certificate with every
// request, and reading it anew takes longer than all the rest of a check.
// It holds at most recentSize thumbprints, XFCC elements and SVIDs each, of
// texts of at most maxCertificate and maxElement bytes; only what is good is
// kept, so that garbage pushes nothing out. A nil Certificates remembers
// nothing. Any goroutine may use it.
type Certificates struct {
	thumbprints recent[string]
	elements    recent[PeerCertificate]
	svids       recent[*token.SVID]
}

// What is longer is read each time.
const (
	maxCertificate = 8 << 10
	maxElement     = 16 << 10 // an XFCC element may carry the chain too
)

// signatureTail is the end of a certificate that has its signature, or enough
// of it to tell certificates apart: most of a look-up is hashing.
const signatureTail = 256

// NewCertificates returns an empty table.
func NewCertificates() *Certificates {
	c := &Certificates{}
	c.thumbprints.start(signatureTail)
	c.elements.start(maxElement) // its end is the same for all replicas of a workload
	c.svids.start(signatureTail)
	return c
}

// Thumbprint is the function of that name, remembered.
func (c *Certificates) Thumbprint(certificate string) (x5t string, ok bool) {
	if c == nil || len(certificate) > maxCertificate {
		return Thumbprint(certificate)
	}
	x5t, sum, ok := c.thumbprints.get(certificate)
	if ok {
		return x5t, true
	}
	if x5t, ok = Thumbprint(certificate); ok {
		c.thumbprints.keep(sum, certificate, x5t)
	}
	return x5t, ok
}
