package proof_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

func TestThumbprint(t *testing.T) {
	cert := extauthztest.NewCertificate(t, "alice")
	if x5t, ok := proof.Thumbprint(cert.PEM); !ok || x5t != cert.X5T {
		t.Errorf("%q, %v; want %q", x5t, ok, cert.X5T)
	}
	body := cert.PEM[len("-----BEGIN%20CERTIFICATE-----%0A"):]
	for name, bad := range map[string]string{
		"empty":                 "",
		"not escaped right":     cert.PEM + "%zz",
		"two blocks":            cert.PEM + cert.PEM,
		"text behind":           cert.PEM + "x",
		"another block":         strings.ReplaceAll(cert.PEM, "CERTIFICATE", "PUBLIC%20KEY"),
		"a PEM header":          "-----BEGIN%20CERTIFICATE-----%0AX: y%0A%0A" + body,
		"cut short":             cert.PEM[:len(cert.PEM)/2],
		"DER without PEM":       "MIIB",
		"a plus became a space": strings.Replace(cert.PEM, "%2B", "+%20", 1) + " ",
	} {
		if x5t, ok := proof.Thumbprint(bad); ok {
			t.Errorf("%s: %q", name, x5t)
		}
	}
}

// TestCertificates holds the memory to the function that it remembers, beyond
// its bound and from many goroutines.
func TestCertificates(t *testing.T) {
	known := proof.NewCertificates()
	certs := make([]*extauthztest.Certificate, 20)
	for i := range certs {
		certs[i] = extauthztest.NewCertificate(t, fmt.Sprint("c", i))
	}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 200 {
				for _, c := range certs {
					if x5t, ok := known.Thumbprint(c.PEM); !ok || x5t != c.X5T {
						t.Errorf("%q, %v; want %q", x5t, ok, c.X5T)
						return
					}
				}
			}
		})
	}
	workers.Wait()
	for _, text := range []string{"", "garbage", certs[0].PEM + "x", certs[0].PEM + strings.Repeat("%20", 4000)} {
		want, wantOK := proof.Thumbprint(text)
		for range 2 {
			if x5t, ok := known.Thumbprint(text); x5t != want || ok != wantOK {
				t.Errorf("%.20q: %q, %v; want %q, %v", text, x5t, ok, want, wantOK)
			}
		}
	}
	pem := certs[0].PEM
	if n := testing.AllocsPerRun(100, func() { known.Thumbprint(pem) }); n != 0 {
		t.Errorf("%v allocations for a known certificate", n)
	}
}

func TestCheck(t *testing.T) {
	mine, other := extauthztest.NewCertificate(t, "alice"), extauthztest.NewCertificate(t, "mallory")
	peer := func(c *extauthztest.Certificate) proof.PeerCertificate {
		p, ok := proof.NewCertificates().Peer(c.PEM)
		if !ok {
			t.Fatal("a certificate that is none")
		}
		return p
	}
	for name, tc := range map[string]struct {
		presented proof.Presented
		confirm   token.Confirmation
		proven    proof.Methods
		want      reason.Reason
	}{
		"nothing asked, nothing shown":      {proof.Presented{PeerOK: true}, token.Confirmation{}, 0, reason.OK},
		"a certificate that nothing names":  {proof.Presented{Peer: peer(mine), PeerOK: true}, token.Confirmation{}, 0, reason.OK},
		"the certificate":                   {proof.Presented{Peer: peer(mine), PeerOK: true}, token.Confirmation{Present: true, X5T: mine.X5T}, proof.MTLS, reason.OK},
		"no certificate":                    {proof.Presented{PeerOK: true}, token.Confirmation{Present: true, X5T: mine.X5T}, 0, reason.BindingMissing},
		"garbage for a certificate":         {proof.Presented{}, token.Confirmation{Present: true, X5T: mine.X5T}, 0, reason.BindingMismatch},
		"another certificate":               {proof.Presented{Peer: peer(other), PeerOK: true}, token.Confirmation{Present: true, X5T: mine.X5T}, 0, reason.BindingMismatch},
		"thumbprint with other end bits":    {proof.Presented{Peer: peer(mine), PeerOK: true}, token.Confirmation{Present: true, X5T: mine.X5T[:42] + "_"}, 0, reason.BindingMismatch},
		"unsupported, certificate matching": {proof.Presented{Peer: peer(mine), PeerOK: true}, token.Confirmation{Present: true, Unsupported: true, X5T: mine.X5T}, 0, reason.BindingUnsupported},
		"jkt as Bearer":                     {proof.Presented{PeerOK: true, DPoPs: 1}, token.Confirmation{Present: true, JKT: mine.X5T}, 0, reason.BindingMissing},
		"jkt without a proof":               {proof.Presented{PeerOK: true, DPoPScheme: true}, token.Confirmation{Present: true, JKT: mine.X5T}, 0, reason.DPoPMissing},
		"jkt with an unchecked proof":       {proof.Presented{PeerOK: true, DPoPScheme: true, DPoPs: 1}, token.Confirmation{Present: true, JKT: mine.X5T}, 0, reason.BindingUnsupported},
		"both, certificate wrong":           {proof.Presented{Peer: peer(other), PeerOK: true, DPoPScheme: true, DPoPs: 1}, token.Confirmation{Present: true, JKT: mine.X5T, X5T: mine.X5T}, 0, reason.BindingMismatch},
		"two DPoP fields":                   {proof.Presented{PeerOK: true, DPoPScheme: true, DPoPs: 2}, token.Confirmation{Present: true, JKT: mine.X5T}, 0, reason.DPoPInvalid},
		"DPoP scheme, x5t alone, no proof":  {proof.Presented{Peer: peer(mine), PeerOK: true, DPoPScheme: true}, token.Confirmation{Present: true, X5T: mine.X5T}, 0, reason.BindingMismatch},
		"DPoP scheme, no jkt":               {proof.Presented{PeerOK: true, DPoPScheme: true, DPoPs: 1}, token.Confirmation{}, 0, reason.BindingMismatch},
		"DPoP scheme, x5t alone":            {proof.Presented{Peer: peer(mine), PeerOK: true, DPoPScheme: true, DPoPs: 1}, token.Confirmation{Present: true, X5T: mine.X5T}, 0, reason.BindingUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			if proven, r := proof.Check(&tc.presented, &tc.confirm, nil, nil, time.Now(), &proof.Proof{}); proven != tc.proven || r != tc.want {
				t.Errorf("%b %v, want %b %v", proven, r, tc.proven, tc.want)
			}
		})
	}
}
