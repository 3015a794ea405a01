package proof

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// leaf is a certificate as Envoy sends it.
type leaf struct{ pem, x5t, hash string }

var (
	notBefore = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	notAfter  = notBefore.Add(time.Hour)
)

// newLeaf makes a certificate in the form that SPIRE gives its SVIDs, changed
// by edit.
func newLeaf(tb testing.TB, edit func(*x509.Certificate)) leaf {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1f2e), Subject: pkix.Name{Country: []string{"US"}, Organization: []string{"SPIRE"}},
		NotBefore: notBefore, NotAfter: notAfter, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "prod.example", Path: "/ns/a/sa/b"}},
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return leaf{pemOf(der), thumbprint(sum), hex.EncodeToString(sum[:])}
}

func pemOf(der []byte) string {
	return escape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func alias(b []byte) string { return unsafe.String(&b[0], len(b)) }

// names makes the names of a certificate out of raw ones: x509 would not write
// those that are wrong.
func names(critical bool, raw ...asn1.RawValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		value, err := asn1.Marshal(raw)
		if err != nil {
			panic(err)
		}
		c.URIs = nil
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: critical, Value: value}}
	}
}

func name(tag int, text string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)}
}

func TestReadSVID(t *testing.T) {
	const email, dns, uri = 1, 2, 6
	const ours = "spiffe://prod.example/ns/a/sa/b"
	for name, edit := range map[string]func(*x509.Certificate){
		"as SPIRE makes it":          nil,
		"no subject, critical names": func(c *x509.Certificate) { names(true, name(uri, ours))(c); c.Subject = pkix.Name{} },
		"names of other kinds":       func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = []string{"a.example"}, []string{"a@b"} },
		"another's ID as a DNS name": names(false, name(uri, ours), name(dns, "a.example")),
		"no purposes":                func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"client's purpose alone":     func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] },
		"any purpose":                func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"no basic constraints":       func(c *x509.Certificate) { c.BasicConstraintsValid = false },
		"key encipherment too":       func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement },
		"expired, which is not ours": nil,
		"an extension that nobody knows": func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeaf(t, edit)
			svid, r := ReadSVID(l.pem)
			if r != reason.OK {
				t.Fatal(r)
			}
			if svid.ID.String() != ours || svid.ID.TrustDomain() != "prod.example" || svid.X5T != l.x5t || svid.Serial != "1f2e" ||
				!svid.NotBefore.Equal(notBefore) || !svid.NotAfter.Equal(notAfter) {
				t.Errorf("%+v", svid)
			}
		})
	}

	for name, edit := range map[string]func(*x509.Certificate){
		"two URI names":            names(false, name(uri, ours), name(uri, "spiffe://prod.example/admin")),
		"the same URI name twice":  names(false, name(uri, ours), name(uri, ours)),
		"a URI of another scheme":  names(false, name(uri, "https://prod.example/ns/a")),
		"one more of another":      names(false, name(uri, ours), name(uri, "https://prod.example/ns/a")),
		"no names":                 func(c *x509.Certificate) { c.URIs = nil },
		"the ID as a DNS name":     names(false, name(dns, ours)),
		"the ID as a mail address": names(false, name(email, ours)),
		"NUL in the ID":            names(false, name(uri, "spiffe://prod.example/ns/a\x00/x")),
		"NUL in the domain":        names(false, name(uri, "spiffe://prod.example\x00.evil/ns/a")),
		"capitals in the domain":   names(false, name(uri, "spiffe://PROD.example/ns/a")),
		"escape":                   names(false, name(uri, "spiffe://prod.example/ns/%61")),
		"escaped dots":             names(false, name(uri, "spiffe://prod.example/x/%2e%2e/a")),
		"dots":                     names(false, name(uri, "spiffe://prod.example/x/../a")),
		"query":                    names(false, name(uri, ours+"?x")),
		"empty query":              names(false, name(uri, ours+"?")),
		"empty fragment":           names(false, name(uri, ours+"#")),
		"port":                     names(false, name(uri, "spiffe://prod.example:443/ns/a")),
		"no path":                  names(false, name(uri, "spiffe://prod.example")),
		"root path":                names(false, name(uri, "spiffe://prod.example/")),
		"scheme in capitals":       names(false, name(uri, "SPIFFE://prod.example/ns/a")),
		"a CA":                     func(c *x509.Certificate) { c.IsCA = true },
		"a CA that may sign":       func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign },
		"may sign certificates":    func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign; c.BasicConstraintsValid = false },
		"may sign CRLs":            func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign },
		"no key usage":             func(c *x509.Certificate) { c.KeyUsage = 0 },
		"may not sign":             func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment },
		"a server's purpose alone": func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] },
		"an unknown purpose alone": func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if svid, r := ReadSVID(newLeaf(t, edit).pem); r != reason.ClaimsInvalid || svid != nil {
				t.Errorf("%v: %+v", r, svid)
			}
		})
	}
	good := newLeaf(t, nil).pem
	for name, text := range map[string]string{
		"empty": "", "text": "x", "two": good + good, "no DER": pemOf([]byte("x")), "cut": good[:400], "bad escape": good + "%",
	} {
		if svid, r := ReadSVID(text); r != reason.ClaimsInvalid || svid != nil {
			t.Errorf("%s: %v %+v", name, r, svid)
		}
	}
}

func TestSVIDRemembered(t *testing.T) {
	known := NewCertificates()
	good, bad := newLeaf(t, nil), newLeaf(t, func(c *x509.Certificate) { c.IsCA = true })
	buffer := []byte(good.pem)
	first, r := known.SVID(alias(buffer))
	clear(buffer)
	if r != reason.OK || first.X5T != good.x5t {
		t.Fatal(r)
	}
	if again, r := known.SVID(good.pem); r != reason.OK || again != first {
		t.Errorf("%v: read anew", r)
	}
	for range 2 {
		if _, r := known.SVID(bad.pem); r != reason.ClaimsInvalid {
			t.Error(r)
		}
	}
	if n := testing.AllocsPerRun(100, func() { known.SVID(good.pem) }); n != 0 {
		t.Errorf("%v allocations for a known SVID", n)
	}
}

// TestRecent fills a table beyond its bound from many goroutines: it never
// gives another text's value, and what was just kept is there.
func TestRecent(t *testing.T) {
	var r recent[int]
	r.start(64)
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := worker; i < 20*recentSize; i += 3 {
				text := strings.Repeat("x", i%97) + strconv.Itoa(i)
				v, sum, ok := r.get(text)
				if ok && v != i {
					t.Errorf("%q is %d", text, v)
				}
				r.keep(sum, text, i)
			}
		})
	}
	workers.Wait()
	_, sum, _ := r.get("one")
	r.put(sum, "another of the same hash", 7)
	r.put(sum, "and one more", 8)
	if v, _, ok := r.get("one"); ok {
		t.Errorf("a collision gave %d", v)
	}
	r.put(sum, "one", 1)
	if v, _, ok := r.get("one"); !ok || v != 1 {
		t.Errorf("just kept: %d, %v", v, ok)
	}
	// The few that a proxy really sees stay, all of them or nearly.
	var few recent[int]
	few.start(64)
	for i := range 200 {
		_, sum, _ := few.get(strconv.Itoa(i))
		few.keep(sum, strconv.Itoa(i), i)
	}
	found := 0
	for i := range 200 {
		if v, _, ok := few.get(strconv.Itoa(i)); ok && v == i {
			found++
		}
	}
	if found < 180 {
		t.Errorf("%d of 200 are remembered", found)
	}
}

func TestMatchSPIFFE(t *testing.T) {
	const ours = "spiffe://prod.example/ns/a/sa/b"
	svid, rotated := newLeaf(t, nil), newLeaf(t, nil)
	ca := newLeaf(t, func(c *x509.Certificate) { c.IsCA = true })
	for name, tc := range map[string]struct {
		peer PeerCertificate
		sub  string
		want reason.Reason
	}{
		"its SVID":                          {PeerCertificate{Present: true, Certificate: svid.pem}, ours, reason.OK},
		"its next SVID":                     {PeerCertificate{Present: true, Certificate: rotated.pem}, ours, reason.OK},
		"its name in XFCC":                  {PeerCertificate{Present: true, X5T: svid.x5t, URI: ours, URIs: 1}, ours, reason.OK},
		"SVID and name":                     {PeerCertificate{Present: true, Certificate: svid.pem, URI: ours, URIs: 1}, ours, reason.OK},
		"no certificate":                    {PeerCertificate{}, ours, reason.BindingMissing},
		"no certificate, no sub":            {PeerCertificate{}, "", reason.BindingMissing},
		"no names in XFCC":                  {PeerCertificate{Present: true, X5T: svid.x5t}, ours, reason.BindingMissing},
		"another's token":                   {PeerCertificate{Present: true, Certificate: svid.pem}, "spiffe://prod.example/ns/a/sa/c", reason.BindingMismatch},
		"same path, federated domain":       {PeerCertificate{Present: true, Certificate: svid.pem}, "spiffe://dev.example/ns/a/sa/b", reason.BindingMismatch},
		"sub below":                         {PeerCertificate{Present: true, Certificate: svid.pem}, ours + "/x", reason.BindingMismatch},
		"sub above":                         {PeerCertificate{Present: true, Certificate: svid.pem}, "spiffe://prod.example/ns/a/sa", reason.BindingMismatch},
		"sub in other case":                 {PeerCertificate{Present: true, Certificate: svid.pem}, "spiffe://prod.example/ns/a/sa/B", reason.BindingMismatch},
		"sub is no SPIFFE ID":               {PeerCertificate{Present: true, Certificate: svid.pem}, "alice", reason.BindingMismatch},
		"no sub":                            {PeerCertificate{Present: true, Certificate: svid.pem}, "", reason.BindingMismatch},
		"name of another than its SVID":     {PeerCertificate{Present: true, Certificate: svid.pem, URI: "spiffe://prod.example/x", URIs: 1}, ours, reason.BindingMismatch},
		"more names than its SVID":          {PeerCertificate{Present: true, Certificate: svid.pem, URI: ours, URIs: 2}, ours, reason.BindingMismatch},
		"bad SVID":                          {PeerCertificate{Present: true, Certificate: ca.pem}, ours, reason.ClaimsInvalid},
		"bad SVID with a good name":         {PeerCertificate{Present: true, Certificate: ca.pem, URI: ours, URIs: 1}, ours, reason.ClaimsInvalid},
		"two names in XFCC":                 {PeerCertificate{Present: true, URI: ours, URIs: 2}, ours, reason.ClaimsInvalid},
		"certificate without a URI name":    {PeerCertificate{Present: true, URIs: 1}, "", reason.ClaimsInvalid},
		"name with capitals, equal to sub":  {PeerCertificate{Present: true, URI: "spiffe://PROD/a", URIs: 1}, "spiffe://PROD/a", reason.ClaimsInvalid},
		"name without path, equal to sub":   {PeerCertificate{Present: true, URI: "spiffe://td", URIs: 1}, "spiffe://td", reason.ClaimsInvalid},
		"name of another kind, equal to it": {PeerCertificate{Present: true, URI: "https://td/a", URIs: 1}, "https://td/a", reason.ClaimsInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			for _, known := range []*Certificates{nil, NewCertificates()} {
				if got := known.MatchSPIFFE(&tc.peer, tc.sub); got != tc.want {
					t.Errorf("%v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestPeer: source.certificate and its absence.
func TestPeer(t *testing.T) {
	known, l := NewCertificates(), newLeaf(t, nil)
	if p, ok := known.Peer(""); !ok || p != (PeerCertificate{}) {
		t.Errorf("none: %+v, %v", p, ok)
	}
	if p, ok := known.Peer("garbage"); ok || p != (PeerCertificate{}) {
		t.Errorf("garbage: %+v, %v", p, ok)
	}
	if p, ok := known.Peer(l.pem); !ok || p != (PeerCertificate{Present: true, X5T: l.x5t, Certificate: l.pem}) {
		t.Errorf("%+v, %v", p, ok)
	}
}
