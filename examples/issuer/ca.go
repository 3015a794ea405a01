package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const certificateLife = 24 * time.Hour

// CA makes certificates for one run of an example: for Envoy, and for the
// clients that bind their tokens to one.
type CA struct {
	certificate *x509.Certificate
	private     *ecdsa.PrivateKey
}

// Certificate is one with its private key, in PEM.
type Certificate struct {
	Cert, Key []byte
	DER       []byte // of the certificate
}

// NewCA makes a root that lives for a day.
func NewCA(name string) (*CA, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	ca := &CA{}
	c, private, err := ca.sign(template)
	if err != nil {
		return nil, err
	}
	ca.private = private
	ca.certificate, err = x509.ParseCertificate(c.DER)
	return ca, err
}

// PEM is the root, for those who shall trust it.
func (ca *CA) PEM() []byte { return pemBlock("CERTIFICATE", ca.certificate.Raw) }

// Pool holds the root alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

// Client makes a client certificate. uris are its URI names: at most one, a
// SPIFFE ID, makes it an X.509-SVID.
func (ca *CA) Client(name string, uris ...string) (*Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("client certificate for %s: %w", name, err)
		}
		template.URIs = append(template.URIs, u)
	}
	c, _, err := ca.sign(template)
	return c, err
}

// Server makes a certificate for a server with these names and addresses.
func (ca *CA) Server(hosts ...string) (*Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	c, _, err := ca.sign(template)
	return c, err
}

// sign fills in what all certificates have and signs with the root, which signs
// itself.
func (ca *CA) sign(template *x509.Certificate) (*Certificate, *ecdsa.PrivateKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(certificateLife)
	parent, signer := ca.certificate, ca.private
	if parent == nil {
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate for %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return &Certificate{Cert: pemBlock("CERTIFICATE", der), Key: pemBlock("PRIVATE KEY", keyDER), DER: der}, private, nil
}

// Thumbprint is what a token bound to the certificate has as cnf.x5t#S256.
func (c *Certificate) Thumbprint() string { return Thumbprint(c.DER) }

// TLS is the certificate for a crypto/tls client or server.
func (c *Certificate) TLS() (tls.Certificate, error) { return tls.X509KeyPair(c.Cert, c.Key) }

// Write puts NAME.pem and NAME.key into a folder and returns their paths.
func (c *Certificate) Write(folder, name string) (cert, key string, err error) {
	cert, key = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key")
	if err := os.WriteFile(cert, c.Cert, 0o600); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(key, c.Key, 0o600)
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
