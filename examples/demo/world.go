package demo

import (
	"context"
	_ "embed" // the configuration's template
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/holdfast-authz/holdfast/envoy"
	"github.com/holdfast-authz/holdfast/examples/issuer"
	"github.com/holdfast-authz/holdfast/examples/upstream"
)

const audience = "https://api.example"

//go:embed holdfast.yaml
var configTemplate string

// world is everything that runs, and what it says.
type world struct {
	out    io.Writer
	binary string // of holdfast
	dir    string // everything on disk: keys, configuration, feed, logs
	config string // Holdfast's configuration file

	issuer   string // its URL, which is also its name
	idp      *issuer.Issuer
	envoy    *envoy.Process
	holdfast *Holdfast
	access   accessLog

	alice, mallory, stranger *person     // the stranger has no certificate
	batch, reports           *person     // workloads, with X.509-SVIDs
	spire                    *issuer.Key // signs their tokens
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) say(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

// checkTimeout is far above Envoy's usual 250 ms: the demo has to say the same
// on a machine that compiles something else at the moment.
const checkTimeout = 2 * time.Second

// start brings everything up. What it has started ends with ctx or with close.
func (w *world) start(ctx context.Context) error {
	binary, err := envoy.Find(ctx, w.out)
	if err != nil {
		return err
	}
	certs, err := w.people()
	if err != nil {
		return err
	}
	if w.issuer, err = serve(ctx, func(addr string) (http.Handler, error) {
		w.idp, err = issuer.New(issuer.Config{URL: "http://" + addr, Audience: audience})
		if err != nil {
			return nil, err
		}
		return w.idp.Handler(), nil
	}); err != nil {
		return fmt.Errorf("start the issuer: %w", err)
	}
	w.issuer = "http://" + w.issuer
	app, err := serve(ctx, func(string) (http.Handler, error) { return upstream.Handler("app"), nil })
	if err != nil {
		return fmt.Errorf("start the upstream: %w", err)
	}
	if err := w.writeBundle(); err != nil {
		return err
	}
	if err := w.writeConfig(); err != nil {
		return err
	}
	if err := w.startHoldfast(ctx); err != nil {
		return err
	}
	if err := w.holdfast.WaitReady(ctx); err != nil {
		return err
	}
	w.access.path = w.file("access.log")
	config, err := envoy.Render(envoy.Edge{
		Listen: "127.0.0.1:0", TLS: certs, Upstream: app, Check: "unix://" + w.file("check.sock"),
		AccessLog: w.access.path, Timeout: checkTimeout,
	})
	if err != nil {
		return err
	}
	w.envoy, err = envoy.Start(ctx, envoy.Options{Binary: binary, Config: config, Dir: w.dir})
	return err
}

// people makes the authority, Envoy's certificate, and those of the story.
func (w *world) people() (*envoy.TLS, error) {
	ca, err := issuer.NewCA("Holdfast demo CA")
	if err != nil {
		return nil, err
	}
	files := &envoy.TLS{ClientCAFile: w.file("ca.pem")}
	if err := os.WriteFile(files.ClientCAFile, ca.PEM(), 0o600); err != nil {
		return nil, err
	}
	server, err := ca.Server("localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	if files.CertFile, files.KeyFile, err = server.Write(w.dir, "server"); err != nil {
		return nil, err
	}
	for name, to := range map[string]**person{"alice": &w.alice, "mallory": &w.mallory, "batch": &w.batch, "reports": &w.reports} {
		var ids []string
		if to == &w.batch || to == &w.reports {
			ids = []string{workload(name)}
		}
		cert, err := ca.Client(name, ids...)
		if err != nil {
			return nil, err
		}
		if _, _, err := cert.Write(w.dir, name); err != nil {
			return nil, err
		}
		if *to, err = newPerson(name, ca.Pool(), cert); err != nil {
			return nil, err
		}
	}
	w.stranger, err = newPerson("stranger", ca.Pool(), nil)
	return files, err
}

func (w *world) writeConfig() error {
	t, err := template.New("holdfast.yaml").Parse(configTemplate)
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	var text strings.Builder
	if err := t.Execute(&text, map[string]string{"Dir": w.dir, "Issuer": w.issuer, "Audience": audience}); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	w.config = w.file("holdfast.yaml")
	return os.WriteFile(w.config, []byte(text.String()), 0o600)
}

func (w *world) startHoldfast(ctx context.Context) (err error) {
	w.holdfast, err = StartHoldfast(ctx, w.binary, w.config, w.file("holdfast.log"))
	return err
}

// close ends both processes and removes the folder.
func (w *world) close() error {
	if w.envoy != nil {
		w.envoy.Stop()
	}
	if w.holdfast != nil {
		w.holdfast.Stop()
	}
	return os.RemoveAll(w.dir)
}

// logs are the tails that explain a failure.
func (w *world) logs() string {
	var b strings.Builder
	for _, name := range []string{"holdfast.log", "envoy.log", "access.log"} {
		text := tail(w.file(name))
		fmt.Fprintf(&b, "\n--- end of %s ---\n%s\n", name, text)
	}
	return b.String()
}

// Options of Run.
type Options struct {
	Holdfast string    // path of the holdfast binary
	Once     bool      // end after the story instead of staying up until ctx ends
	Out      io.Writer // for people to read
}

// Run plays the story. It returns nil only if every step did what it says; the
// error names the step that did not and holds the ends of the logs.
func Run(ctx context.Context, o Options) (err error) {
	if o.Holdfast == "" || o.Out == nil {
		return errors.New("demo: the path of the holdfast binary and a place to write to are needed")
	}
	dir, err := os.MkdirTemp("", "holdfast-demo-") // short: a Unix socket's path is limited to about 100 bytes
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &world{out: o.Out, binary: o.Holdfast, dir: dir}
	defer func() { err = errors.Join(err, w.close()) }()

	begin := time.Now()
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("demo: %w\n%s", err, w.logs())
	}
	w.say("issuer, upstream, Envoy and Holdfast are up on loopback after %.1f s\n", time.Since(begin).Seconds())
	if err := w.play(ctx); err != nil {
		return err
	}
	if o.Once {
		return nil
	}
	return w.stay(ctx)
}
