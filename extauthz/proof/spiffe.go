package proof

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

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
func ReadSVID(certificate string) (*token.SVID, reason.Reason) {
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
	id, ok := token.ParseSPIFFEID(uri)
	if !ok || id.Path() == "" {
		return nil, reason.ClaimsInvalid
	}
	return &token.SVID{
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
func (c *Certificates) SVID(certificate string) (*token.SVID, reason.Reason) {
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
func (c *Certificates) SPIFFEID(p *PeerCertificate) (token.SPIFFEID, reason.Reason) {
	switch {
	case p.Certificate != "":
		svid, r := c.SVID(p.Certificate)
		if r != reason.OK {
			return token.SPIFFEID{}, r
		}
		if p.URIs > 0 && (p.URIs > 1 || p.URI != svid.ID.String()) {
			return token.SPIFFEID{}, reason.BindingMismatch
		}
		return svid.ID, reason.OK
	case p.URIs == 0:
		return token.SPIFFEID{}, reason.BindingMissing
	}
	id, ok := token.ParseSPIFFEID(p.URI)
	if !ok || p.URIs > 1 || id.Path() == "" {
		return token.SPIFFEID{}, reason.ClaimsInvalid
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
