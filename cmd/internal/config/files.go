package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// checkFiles sees that what the configuration names is there and can be used.
func checkFiles(c *Config, d *decoder) {
	v := &validator{c, d}
	for i := range c.Issuers {
		v.readable(index("issuers", i)+".jwks_file", c.Issuers[i].JWKSFile)
	}
	if t := c.Listen.Check.TLS; t != nil {
		v.tlsFiles("listen.check.tls", t.CertFile, t.KeyFile, t.ClientCAFile)
	}
	if t := c.Listen.Admin.TLS; t != nil {
		v.tlsFiles("listen.admin.tls", t.CertFile, t.KeyFile, t.ClientCAFile)
	}
	if raw := v.readable("listen.admin.token_file", c.Listen.Admin.TokenFile); raw != nil {
		if token := strings.TrimSpace(string(raw)); token == "" || strings.ContainsAny(token, " \t\r\n") {
			v.say("listen.admin.token_file", "listen.admin.token_file %s must hold one token, without spaces", quote(c.Listen.Admin.TokenFile))
		}
	}
	// The key and the directory are made where they are not there.
	if st, err := os.Stat(c.Feed.Embedded.Directory); err == nil && !st.IsDir() {
		v.say("feed.embedded.directory", "feed.embedded.directory %s is not a directory", quote(c.Feed.Embedded.Directory))
	}
	if _, err := os.Stat(c.Feed.KeyFile); v.given("feed.key_file") && !errors.Is(err, fs.ErrNotExist) {
		v.readable("feed.key_file", c.Feed.KeyFile)
	} else if v.given("feed.key_file") && filepath.Dir(c.Feed.KeyFile) != filepath.Clean(c.Feed.Embedded.Directory) {
		v.directoryOf("feed.key_file", c.Feed.KeyFile)
	}
	if file := c.DecisionLog.Destination.File; file != "" {
		v.directoryOf("decision_log.destination", file)
	}
}

// readable reads a small file that must be there; "" is none.
func (v *validator) readable(path, file string) []byte {
	if file == "" {
		return nil
	}
	raw, err := readFile(file)
	if err != nil {
		v.say(path, "%s: %s", path, err)
		return nil
	}
	return raw
}

func readFile(file string) ([]byte, error) {
	st, err := os.Stat(file) // before it is opened: a FIFO would block
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist%s", quote(file), seenFrom(file))
	case err == nil && st.IsDir():
		return nil, fmt.Errorf("%s is a directory", quote(file))
	case err == nil && !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", quote(file))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", quote(file), cause(err))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", quote(file), cause(err))
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", quote(file), cause(err))
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%s is empty", quote(file))
	}
	return raw, nil
}

// seenFrom reminds of where relative paths begin.
func seenFrom(file string) string {
	if filepath.IsAbs(file) {
		return ""
	}
	return " (relative paths begin in the directory that holdfast is started in)"
}

// directoryOf demands the directory of a file that is made at need.
func (v *validator) directoryOf(path, file string) {
	if st, err := os.Stat(file); err == nil && st.IsDir() {
		v.say(path, "%s: %s is a directory", path, quote(file))
		return
	}
	dir := filepath.Dir(file)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		v.say(path, "%s: the directory %s does not exist%s", path, quote(dir), seenFrom(file))
	}
}

func (v *validator) tlsFiles(path, cert, key, ca string) {
	certPEM, keyPEM := v.readable(path+".cert_file", cert), v.readable(path+".key_file", key)
	if certPEM != nil && keyPEM != nil {
		if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
			v.say(path+".cert_file", "%s: cert_file and key_file are no pair: %s", path, strings.TrimPrefix(err.Error(), "tls: "))
		}
	}
	if raw := v.readable(path+".client_ca_file", ca); raw != nil && !x509.NewCertPool().AppendCertsFromPEM(raw) {
		v.say(path+".client_ca_file", "%s.client_ca_file: %s has no certificate in PEM form", path, quote(ca))
	}
}
