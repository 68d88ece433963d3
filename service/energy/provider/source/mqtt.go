package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// mqttSource is a meter that tells a broker. Its messages are kept by topic: a reading is what all of them say.
type mqttSource struct {
	options *mqtt.ClientOptions
	topic   string // the meter's
	filters map[string]byte
	names   Fields
	settle  time.Duration // for how long no new topic has to have come up before anything is read; 0: not at all
	client  mqtt.Client

	mu     sync.Mutex // guards what follows
	topics map[string]Fields
	bad    []error
	grown  time.Time     // when the newest topic came up
	news   chan struct{} // holds one if a message came since the last reading
}

const (
	maxTopics = 64               // of one meter
	staleness = 5 * time.Minute  // after which a message says nothing any more
	settleFor = 35 * time.Second // within which a meter with a topic for each value has said all of them
)

func newMQTT(u *url.URL, m *Map, name string) (*mqttSource, error) {
	topic := strings.Trim(u.Path, "/")
	if u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Host == "" || topic == "" || strings.Contains(topic, "+") {
		return nil, errors.New("want mqtt://[USER:PASSWORD@]HOST:PORT/TOPIC")
	}
	if len(m.Topics) == 0 {
		return nil, errors.New("the map names no topics")
	}
	s := &mqttSource{topic: topic, filters: map[string]byte{}, topics: map[string]Fields{}, news: make(chan struct{}, 1)}
	s.names = Fields{"protocol": {Text: "MQTT"}, "map": {Text: name}, "topic": {Text: topic}}
	if m.Channel == "all" {
		s.settle = settleFor // what is added up must be complete
	}
	for _, t := range m.Topics {
		s.filters[topic+"/"+t] = 0
	}
	broker := map[string]string{"mqtt": "tcp://", "mqtts": "ssl://"}[u.Scheme] + u.Host
	if u.Port() == "" {
		broker += map[string]string{"mqtt": ":1883", "mqtts": ":8883"}[u.Scheme]
	}
	s.options = mqtt.NewClientOptions().AddBroker(broker).SetConnectTimeout(10 * time.Second).SetAutoReconnect(false).SetCleanSession(true)
	if u.User != nil {
		password, _ := u.User.Password()
		s.options.SetUsername(u.User.Username()).SetPassword(password)
	}
	return s, nil
}

// read waits for a message, and returns what all fresh ones say.
func (s *mqttSource) read(ctx context.Context) (Fields, []error, error) {
	if s.client == nil {
		if err := s.connect(ctx); err != nil {
			return nil, nil, err
		}
	}
	for wait := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil, nil, ctx.Err()
		case <-s.news:
			wait.Stop()
			fields, bad := s.fresh()
			return fields, bad, nil
		case <-wait.C:
			if !s.client.IsConnectionOpen() {
				wait.Stop()
				return nil, nil, errors.Join(errors.New("mqtt: the broker is gone"), s.close())
			}
		}
	}
}

func (s *mqttSource) fresh() (Fields, []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fields := maps.Clone(s.names)
	bad := s.bad
	s.bad = nil
	if s.settle > 0 && time.Since(s.grown) < s.settle {
		return fields, bad
	}
	for _, of := range s.topics {
		for path, f := range of {
			if time.Since(f.At) > staleness {
				f = Field{} // the path is there, so that no sum goes without it, and says nothing
			}
			fields[path] = f
		}
	}
	return fields, bad
}

func (s *mqttSource) sent(Fields) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.topics {
		list = append(list, numbers(of)...)
	}
	return list
}

func (s *mqttSource) connect(ctx context.Context) error {
	client := mqtt.NewClient(s.options)
	if err := settle(ctx, client.Connect()); err != nil {
		client.Disconnect(0)
		return fmt.Errorf("mqtt: connect: %w", err)
	}
	if err := settle(ctx, client.SubscribeMultiple(s.filters, s.take)); err != nil {
		client.Disconnect(0)
		return fmt.Errorf("mqtt: subscribe: %w", err)
	}
	s.client = client
	return nil
}

func settle(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take keeps a message. Beyond maxTopics, further topics are left out.
func (s *mqttSource) take(_ mqtt.Client, m mqtt.Message) {
	if m.Retained() {
		return // nobody knows how old it is
	}
	s.hear(m.Topic(), m.Payload())
}

func (s *mqttSource) hear(topic string, payload []byte) {
	path := strings.TrimPrefix(topic, s.topic+"/")
	fields := Fields{}
	err := flatten(fields, path, payload)
	at := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.topics[path]; err == nil && !known && len(s.topics) >= maxTopics {
		err = fmt.Errorf("more than %d topics", maxTopics)
	}
	if err != nil {
		if len(s.bad) < maxTopics {
			s.bad = append(s.bad, fmt.Errorf("mqtt: message of %.100s: %w", topic, err))
		}
	} else {
		for p, f := range fields {
			f.At = at
			fields[p] = f
		}
		if s.topics[path] == nil {
			s.grown = at
		}
		s.topics[path] = fields
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *mqttSource) close() error {
	if s.client != nil {
		s.client.Disconnect(100)
	}
	s.client = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.topics)
	return nil
}
