package kafka

import (
	"fmt"
	"slices"
	"strings"
)

// Role is a kind of program that uses the topics. Each needs other rights.
type Role string

// The roles. The lists of their rights leave out what Kafka's own authorizer grants with
// another right: Describe with Read and with Write, DescribeConfigs with AlterConfigs.
const (
	RoleServe    Role = "serve"    // the server
	RoleApply    Role = "apply"    // `topics plan` and `topics apply`
	RoleView     Role = "view"     // the commands that only read the topics
	RoleTools    Role = "tools"    // all commands that read or write the topics, except `serve` and `topics`
	RoleConsumer Role = "consumer" // a consumer of events
)

// Roles returns all roles.
func Roles() []Role { return []Role{RoleServe, RoleApply, RoleView, RoleTools, RoleConsumer} }

// ResourceType is what an [ACL] is about: in [kafka-acls' spelling] Topic, Group or
// TransactionalID.
//
// [kafka-acls' spelling]: https://kafka.apache.org/documentation/#security_authz_cli
type ResourceType string

// The types of resources that tollbridge needs rights on.
const (
	ResourceTopic           ResourceType = "Topic"
	ResourceGroup           ResourceType = "Group"
	ResourceTransactionalID ResourceType = "TransactionalID"
)

// ACL permits operations on one resource, which Name names literally. The operations
// have Kafka's names, such as Read and DescribeConfigs.
type ACL struct {
	Type       ResourceType `json:"resource_type"`
	Name       string       `json:"resource_name"`
	Operations []string     `json:"operations"`
}

// ACLs returns the rights that a role needs, and none that it does not need. Names.Types
// must be nil: [Layout.Plan] asks for the topics of all event types, and Kafka answers that
// it is not authorized for a topic without rights, whether or not that topic exists. groups are
// the consumer groups of a consumer, or those that `rewind` shows or moves; topics limits
// the topics of a consumer, and nil means all event topics. It returns an error if the
// role has no groups or topics but they are given, or a consumer has no group.
//
// From Kafka 2.8 on, the right to write to a topic includes the right to get a producer
// id; earlier brokers also need IdempotentWrite on the cluster (KIP-679).
func (n Names) ACLs(role Role, groups, topics []string) ([]ACL, error) {
	var all []ACL
	grant := func(kind ResourceType, names []string, operations ...string) {
		for _, name := range names {
			all = append(all, ACL{kind, name, operations})
		}
	}
	switch {
	case role == RoleConsumer && len(groups) == 0:
		return nil, fmt.Errorf("the role %s needs the name of its consumer group", role)
	case (role == RoleServe || role == RoleApply) && len(groups) > 0:
		return nil, fmt.Errorf("the role %s uses no consumer group", role)
	case role != RoleConsumer && len(topics) > 0:
		return nil, fmt.Errorf("the role %s uses all topics: only those of a consumer can be chosen", role)
	}
	switch role {
	case RoleServe:
		for _, topic := range n.All() {
			if topic == n.Received() || topic == n.Dead() { // serve only writes them
				grant(ResourceTopic, []string{topic}, "Write", "DescribeConfigs")
			} else {
				grant(ResourceTopic, []string{topic}, "Read", "Write", "DescribeConfigs")
			}
		}
	case RoleApply:
		grant(ResourceTopic, n.All(), "Create", "Describe", "AlterConfigs")
	case RoleView:
		grant(ResourceTopic, n.All(), "Read")
		grant(ResourceGroup, groups, "Describe")
	case RoleTools:
		grant(ResourceTopic, n.All(), "Read", "Write")
		grant(ResourceGroup, append([]string{n.LockName()}, groups...), "Read")
		grant(ResourceTransactionalID, []string{n.LockName()}, "Write")
	case RoleConsumer:
		names, err := n.eventTopics(topics)
		if err != nil {
			return nil, err
		}
		grant(ResourceTopic, names, "Read")
		grant(ResourceGroup, groups, "Read")
	default:
		return nil, fmt.Errorf("the role %q is unknown: expected %s", role, joinRoles())
	}
	return all, nil
}

// MergeACLs returns one ACL for each resource, with the operations of all lists.
func MergeACLs(lists ...[]ACL) (all []ACL) {
	for _, acl := range slices.Concat(lists...) {
		i := slices.IndexFunc(all, func(a ACL) bool { return a.Type == acl.Type && a.Name == acl.Name })
		if i < 0 {
			acl.Operations = slices.Clone(acl.Operations)
			all = append(all, acl)
			continue
		}
		for _, o := range acl.Operations {
			if !slices.Contains(all[i].Operations, o) {
				all[i].Operations = append(all[i].Operations, o)
			}
		}
	}
	return all
}

// eventTopics returns the topics of event types, or all event topics if types is empty. A
// type may also be given as the name of its topic.
func (n Names) eventTopics(types []string) ([]string, error) {
	if len(types) == 0 {
		return n.Events(), nil
	}
	var all []string
	for _, t := range types {
		topic := t
		if !slices.Contains(n.Events(), topic) {
			topic = n.Prefix + t
		}
		if !slices.Contains(n.Events(), topic) {
			return nil, fmt.Errorf("%q is neither an event type nor its topic; `tollbridge schemas` lists the types", t)
		}
		all = append(all, topic)
	}
	return all, nil
}

func joinRoles() string {
	var all []string
	for _, r := range Roles() {
		all = append(all, string(r))
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}
