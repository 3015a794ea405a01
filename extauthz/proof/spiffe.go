package proof

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// Limits of SPIFFE-ID 2.3.
const (
	maxSPIFFEID    = 2048
	maxTrustDomain = 255

	spiffeScheme = "spiffe://"
)

// SPIFFEID is the name of a workload: spiffe://trust-domain/path. Two are the
// same if and only if they are ==; the zero value names nobody.
type SPIFFEID struct {
	text   string
	domain uint8 // length of the trust domain
}

// ParseSPIFFEID reads an ID by SPIFFE-ID 2, byte by byte: the scheme and a
// trust domain of lower-case letters, digits, dots, dashes and underscores,
// then segments of the same and upper-case letters. So it has no user, port,
// query, fragment or percent-escape; no segment is empty, "." or "..". An ID
// without a path names the trust domain itself. It does not copy s.
func ParseSPIFFEID(s string) (id SPIFFEID, ok bool) {
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	if !ok || len(s) > maxSPIFFEID {
		return SPIFFEID{}, false
	}
	domain, path, hasPath := strings.Cut(rest, "/")
	if domain == "" || len(domain) > maxTrustDomain || !spiffeBytes(domain, false) {
		return SPIFFEID{}, false
	}
	for more := hasPath; more; {
		var segment string
		segment, path, more = strings.Cut(path, "/")
		if segment == "" || segment == "." || segment == ".." || !spiffeBytes(segment, true) {
			return SPIFFEID{}, false
		}
	}
	return SPIFFEID{s, uint8(len(domain))}, true
}

func spiffeBytes(s string, upper bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		case upper && c >= 'A' && c <= 'Z':
		default:
			return false
		}
	}
	return true
}

// String is the ID as it was read, "" for the zero value.
func (id SPIFFEID) String() string { return id.text }

// TrustDomain is the name of its trust domain.
func (id SPIFFEID) TrustDomain() string {
	if id.text == "" {
		return ""
	}
	return id.text[len(spiffeScheme) : len(spiffeScheme)+int(id.domain)]
}

// Path begins with a slash, or is "".
func (id SPIFFEID) Path() string {
	if id.text == "" {
		return ""
	}
	return id.text[len(spiffeScheme)+int(id.domain):]
}

// Under tells whether the ID is top or stands below it, segment by segment:
// spiffe://td/ns/a has spiffe://td/ns/a/b below it, not spiffe://td/ns/ab, and
// spiffe://td not spiffe://td.evil. Nothing is under the zero value.
func (id SPIFFEID) Under(top SPIFFEID) bool {
	rest, ok := strings.CutPrefix(id.text, top.text)
	return ok && top.text != "" && (rest == "" || rest[0] == '/')
}

// MatchDomain tells whether the ID is of one of these trust domains.
func (id SPIFFEID) MatchDomain(domains []string) reason.Reason {
	if domain := id.TrustDomain(); domain != "" && slices.Contains(domains, domain) {
		return reason.OK
	}
	return reason.IssuerUnknown
}

// SVID is what an X.509-SVID says. It is shared: nobody may change it.
type SVID struct {
	ID                  SPIFFEID // with its trust domain
	X5T                 string   // x5t#S256
	Serial              string   // lower-case hex
	NotBefore, NotAfter time.Time
}

// ReadSVID reads an X.509-SVID as Envoy sends a certificate: URL-encoded PEM.
//
// That the chain leads to a bundle of the ID's own trust domain is the proxy's
// to check, in the handshake: only it sees the chain, and no other key can have
// made the connection. An Envoy that takes untrusted certificates
// (ACCEPT_UNTRUSTED, which x5t#S256 bindings allow) must not be in front of
// anything that relies on SVIDs. NotBefore and NotAfter are for the caller to
// judge, with its skew.
//
// What is checked is the leaf, X509-SVID 2, 4 and 5.2: exactly one URI name,
// which is a SPIFFE ID with a path (other kinds of names mean nothing here); no
// CA; a key usage with digitalSignature and without keyCertSign and cRLSign;
// and clientAuth where the certificate lists purposes, since the peer is a
// client (the standard wants serverAuth beside it, which gains nothing here).
// Whatever else it is: claims_invalid.
func ReadSVID(certificate string) (*SVID, reason.Reason) {
	der, ok := derOf(certificate)
	if !ok {
		return nil, reason.ClaimsInvalid
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || cert.IsCA || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 ||
		cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 || !forClients(cert) {
		return nil, reason.ClaimsInvalid
	}
	uri, ok := onlyURI(cert)
	if !ok {
		return nil, reason.ClaimsInvalid
	}
	id, ok := ParseSPIFFEID(uri)
	if !ok || id.Path() == "" {
		return nil, reason.ClaimsInvalid
	}
	return &SVID{
		ID: id, X5T: thumbprint(sha256.Sum256(der)), Serial: cert.SerialNumber.Text(16),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
	}, reason.OK
}

// forClients tells whether the certificate's purposes allow a client.
func forClients(cert *x509.Certificate) bool {
	listed := len(cert.ExtKeyUsage) + len(cert.UnknownExtKeyUsage)
	return listed == 0 || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// onlyURI is the certificate's URI name as it stands there, where it has
// exactly one: url.URL, which x509 gives, does not keep the text.
func onlyURI(cert *x509.Certificate) (uri string, ok bool) {
	const uriName = 6                                     // RFC 5280, 4.2.1.6: uniformResourceIdentifier
	subjectAltName := asn1.ObjectIdentifier{2, 5, 29, 17} // x509 refuses a second one
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(subjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return "", false
		}
		for _, name := range names {
			if name.Class != asn1.ClassContextSpecific || name.Tag != uriName {
				continue
			}
			if ok {
				return "", false
			}
			uri, ok = string(name.Bytes), true
		}
	}
	return uri, ok
}

// SVID is ReadSVID, remembered.
func (c *Certificates) SVID(certificate string) (*SVID, reason.Reason) {
	if c == nil || len(certificate) > maxCertificate {
		return ReadSVID(certificate)
	}
	svid, sum, ok := c.svids.get(certificate)
	if ok {
		return svid, reason.OK
	}
	svid, r := ReadSVID(certificate)
	if r == reason.OK {
		c.svids.keep(sum, certificate, svid)
	}
	return svid, r
}

// SPIFFEID is the ID of the peer: of its certificate or, where XFCC came with
// names only, of its only URI. A certificate and a URI that differ are not of
// one peer. binding_missing means that there is no certificate, or that the
// proxy was not told to send its names.
func (c *Certificates) SPIFFEID(p *PeerCertificate) (SPIFFEID, reason.Reason) {
	switch {
	case p.Certificate != "":
		svid, r := c.SVID(p.Certificate)
		if r != reason.OK {
			return SPIFFEID{}, r
		}
		if p.URIs > 0 && (p.URIs > 1 || p.URI != svid.ID.String()) {
			return SPIFFEID{}, reason.BindingMismatch
		}
		return svid.ID, reason.OK
	case p.URIs == 0:
		return SPIFFEID{}, reason.BindingMissing
	}
	id, ok := ParseSPIFFEID(p.URI)
	if !ok || p.URIs > 1 || id.Path() == "" {
		return SPIFFEID{}, reason.ClaimsInvalid
	}
	return id, reason.OK
}

// MatchSPIFFE is the spiffe binding: the peer's ID is the token's sub. It
// outlives the rotation of the certificate, which an x5t#S256 does not.
func (c *Certificates) MatchSPIFFE(p *PeerCertificate, sub string) reason.Reason {
	id, r := c.SPIFFEID(p)
	if r == reason.OK && id.String() != sub {
		return reason.BindingMismatch
	}
	return r
}
