package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/holdfast-authz/holdfast/cmd/internal/config"
	"github.com/holdfast-authz/holdfast/extauthz/server"
)

// checkTLS is the TLS of the check listener; nil for plain text.
func checkTLS(c *config.CheckTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	conf, err := serverTLS(c.CertFile, c.KeyFile, c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("listen.check.tls: %w", err)
	}
	conf.NextProtos = []string{"h2"}
	if len(c.ClientURIs) > 0 {
		conf.VerifyConnection = func(state tls.ConnectionState) error { return allowedURI(state, c.ClientURIs) }
	}
	return conf, nil
}

// allowedURI admits a client whose certificate has exactly one URI, one of
// those that are allowed: an X.509-SVID has one (SPIFFE X509-SVID, 2).
func allowedURI(state tls.ConnectionState, allowed []string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no client certificate")
	}
	uris := state.PeerCertificates[0].URIs
	if len(uris) != 1 || !slices.Contains(allowed, uris[0].String()) {
		return fmt.Errorf("client certificate has none of the URIs in client_uris")
	}
	return nil
}

func serverTLS(certFile, keyFile, clientCAFile string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load the certificate: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	if clientCAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("read the client CA: %w", err)
	}
	conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client CA %s holds no certificate", clientCAFile)
	}
	return conf, nil
}

// listenAdmin opens the admin listener, with TLS where it is configured.
func (p *process) listenAdmin() (net.Listener, error) {
	return listenHTTP(p.config.Listen.Admin.Address, p.config.Listen.Admin.TLS)
}

// listenHTTP opens a listener for HTTP, with TLS where it is configured.
func listenHTTP(address string, c *config.AdminTLS) (net.Listener, error) {
	listener, err := server.Listen(address)
	if err != nil || c == nil {
		return listener, err
	}
	conf, err := serverTLS(c.CertFile, c.KeyFile, c.ClientCAFile)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	conf.NextProtos = []string{"http/1.1"}
	return tls.NewListener(listener, conf), nil
}

// addressOf is where a listener listens, in the configuration's own form: the
// port that the kernel chose, or unix:///path.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix://" + l.Addr().String()
	}
	return l.Addr().String()
}
