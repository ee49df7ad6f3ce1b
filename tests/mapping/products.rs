//! Records of products, written here after their published schemas: which mapping reads them, and what it says.

use super::*;

/// A record of each product and what it must become: mapping, type, and fields with their values.
pub(crate) type Case =
    (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

pub(crate) const CASES: [Case; 22] = [
    (
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"6c1e8b2a-1f5e-4f33-9d53-0c9e7f1f2b11","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/pay/secrets/db","verb":"get","user":{"username":"alice@example.com"},"impersonatedUser":{"username":"bob"},"sourceIPs":["192.0.2.7"],"objectRef":{"resource":"secrets","namespace":"pay","name":"db"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#,
        "kubernetes",
        "x-kubernetes.audit",
        &[
            ("actor", "alice@example.com"),
            ("impersonated", "bob"),
            ("operation", "get"),
            ("kind", "secrets"),
            ("outcome", "200"),
            ("decision", "allow"),
            ("address", "192.0.2.7"),
        ],
    ),
    (
        r#"{"actor":{"id":"00u1","type":"User","alternateId":"admin@example.com"},"eventType":"user.lifecycle.deactivate","published":"2026-01-02T03:04:05.678Z","outcome":{"result":"SUCCESS"},"target":[{"id":"00u2","type":"User","alternateId":"leaver@example.com"}],"uuid":"dc9fd3c0-598c-11ef-8478-2b7584bf8d5a"}"#,
        "okta",
        "account.changed",
        &[("subject", "00u2"), ("state", "terminated")],
    ),
    (
        r#"{"actor":{"id":"00u1"},"eventType":"group.user_membership.add","published":"2026-01-02T03:04:05Z","outcome":{"result":"SUCCESS"},"target":[{"id":"00u2","type":"User"},{"id":"00g3","type":"UserGroup"}]}"#,
        "okta",
        "grant.changed",
        &[("grantee", "00u2"), ("scope", "group:00g3"), ("state", "granted")],
    ),
    (
        r#"{"actor":{"id":"00u1"},"eventType":"user.lifecycle.create","published":"2026-01-02T03:04:05Z","outcome":{"result":"FAILURE"},"target":[{"id":"00u2","type":"User"}]}"#,
        "okta",
        "x-okta.log",
        &[("outcome", "FAILURE"), ("actor", "00u1")],
    ),
    (
        r#"{"kind":"admin#reports#activity","id":{"time":"2026-01-02T03:04:05.678Z","uniqueQualifier":"-9007199254740993","applicationName":"drive","customerId":"C1"},"actor":{"email":"alice@example.com","profileId":"1"},"ipAddress":"192.0.2.7","events":[{"type":"access","name":"download","parameters":[{"name":"doc_id","value":"1abc"},{"name":"owner","value":"bob@example.com"}]}]}"#,
        "google-workspace",
        "data.accessed",
        &[
            ("subject", "bob@example.com"),
            ("actor", "alice@example.com"),
            ("operation", "export"),
            ("purpose", "unstated"),
        ],
    ),
    (
        r#"{"kind":"admin#reports#activity","id":{"time":"2026-01-02T03:04:05Z","applicationName":"admin"},"actor":{"email":"admin@example.com"},"events":[{"type":"USER_SETTINGS","name":"DELETE_USER","parameters":[{"name":"USER_EMAIL","value":"bob@example.com"}]}]}"#,
        "google-workspace",
        "account.changed",
        &[("subject", "bob@example.com"), ("state", "deleted")],
    ),
    (
        r#"{"insertId":"x1","logName":"projects/p/logs/cloudaudit.googleapis.com%2Fdata_access","timestamp":"2026-01-02T03:04:05Z","resource":{"type":"gcs_bucket","labels":{"project_id":"p"}},"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"storage.googleapis.com","methodName":"storage.objects.get","resourceName":"projects/_/buckets/b/objects/o","authenticationInfo":{"principalEmail":"alice@example.com"},"authorizationInfo":[{"granted":true}],"status":{}}}"#,
        "google-cloud",
        "data.accessed",
        &[
            ("subject", "account:p"),
            ("actor", "alice@example.com"),
            ("account", "p"),
            ("store", "storage.googleapis.com"),
        ],
    ),
    (
        r#"{"insertId":"x1","logName":"projects/p/logs/cloudaudit.googleapis.com%2Fdata_access","timestamp":"2026-01-02T03:04:05Z","resource":{"type":"gcs_bucket","labels":{"project_id":"p"}},"protoPayload":{"methodName":"storage.objects.get","authenticationInfo":{"principalEmail":"alice@example.com"},"status":{"code":7}}}"#,
        "google-cloud",
        "x-google.log",
        &[("outcome", "7"), ("actor", "alice@example.com")],
    ),
    (
        r#"{"specversion":"1.0","id":"1","source":"//cloudaudit.googleapis.com/projects/p/logs/activity","type":"google.cloud.audit.log.v1.written","data":{"insertId":"x1","timestamp":"2026-01-02T03:04:05Z","resource":{"type":"project","labels":{"project_id":"p"}},"protoPayload":{"methodName":"SetIamPolicy","serviceName":"cloudresourcemanager.googleapis.com","serviceData":{"policyDelta":{"bindingDeltas":[{"action":"ADD","role":"roles/owner","member":"user:bob@example.com"}]}}}}}"#,
        "google-cloud",
        "grant.changed",
        &[("grantee", "user:bob@example.com"), ("scope", "roles/owner"), ("state", "granted")],
    ),
    (
        r#"{"time":"2026-01-02T03:04:05Z","resourceId":"/tenants/t/providers/Microsoft.aadiam","operationName":"Add member to role","category":"AuditLogs","tenantId":"t","properties":{"result":"success","initiatedBy":{"user":{"userPrincipalName":"admin@example.com"}},"targetResources":[{"id":"u-1","type":"User","userPrincipalName":"bob@example.com","modifiedProperties":[{"displayName":"Role.DisplayName","newValue":"\"Global Administrator\""}]}]}}"#,
        "azure",
        "grant.changed",
        &[("grantee", "u-1"), ("scope", "\"Global Administrator\""), ("state", "granted")],
    ),
    (
        r#"{"id":"9b1","createdDateTime":"2026-01-02T03:04:05Z","userPrincipalName":"alice@example.com","userId":"u-1","appDisplayName":"Portal","ipAddress":"192.0.2.7","status":{"errorCode":50126}}"#,
        "azure",
        "x-azure.audit",
        &[("actor", "alice@example.com"), ("outcome", "50126"), ("address", "192.0.2.7")],
    ),
    (
        r#"{"eventTimestamp":"2026-01-02T03:04:05Z","caller":"alice@example.com","operationName":{"value":"Microsoft.Compute/disks/delete"},"resourceId":"/subscriptions/s/x","status":{"value":"Succeeded"},"category":{"value":"Administrative"}}"#,
        "azure",
        "x-azure.audit",
        &[
            ("actor", "alice@example.com"),
            ("operation", "Microsoft.Compute/disks/delete"),
            ("kind", "Administrative"),
        ],
    ),
    (
        r#"{"CreationTime":"2026-01-02T03:04:05","Id":"1","Operation":"MailItemsAccessed","OrganizationId":"o","RecordType":50,"ResultStatus":"Succeeded","UserId":"admin@example.com","MailboxOwnerUPN":"bob@example.com","LogonType":1,"Workload":"Exchange","ClientIPAddress":"192.0.2.7"}"#,
        "microsoft365",
        "data.accessed",
        &[
            ("subject", "bob@example.com"),
            ("actor", "admin@example.com"),
            ("actor_role", "staff"),
            ("store", "Exchange"),
        ],
    ),
    (
        r#"{"creationtime":"2026-01-02 03:04:05","operation":"New-InboxRule","recordtype":1,"userid":"alice@example.com","workload":"Exchange","resultstatus":"True"}"#,
        "microsoft365",
        "x-microsoft365.audit",
        &[("actor", "alice@example.com"), ("operation", "New-InboxRule")],
    ),
    (
        r#"{"@timestamp":"2026-01-02T03:04:05Z","event":{"code":"4720"},"winlog":{"channel":"Security","event_id":4720,"record_id":9007199254740993,"event_data":{"TargetSid":"S-1-5-21-9","TargetUserName":"bob","SubjectUserSid":"S-1-5-21-1"}}}"#,
        "windows",
        "account.changed",
        &[("subject", "S-1-5-21-9"), ("state", "created")],
    ),
    (
        r#"{"timestamp":"2026-01-02T03:04:05.000+0000","rule":{"id":"1"},"agent":{"id":"001"},"data":{"win":{"system":{"providerName":"Microsoft-Windows-Security-Auditing","eventID":"4732","channel":"Security","systemTime":"2026-01-02T03:04:05Z"},"eventdata":{"memberSid":"S-1-5-21-9","targetSid":"S-1-5-32-544","subjectUserName":"alice"}}}}"#,
        "windows",
        "grant.changed",
        &[("grantee", "S-1-5-21-9"), ("scope", "group:S-1-5-32-544"), ("state", "granted")],
    ),
    (
        r#"{"EventTime":"2026-01-02 03:04:05 +0000","Hostname":"pc","EventID":4624,"SourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security","TargetUserSid":"S-1-5-21-9","TargetUserName":"bob","IpAddress":"192.0.2.7","Keywords":-9214364837600034816}"#,
        "windows",
        "x-windows.event",
        &[
            ("operation", "4624"),
            ("subject", "S-1-5-21-9"),
            ("account", "bob"),
            ("address", "192.0.2.7"),
        ],
    ),
    (
        r##"{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},"EventID":{"#text":"4726"},"Channel":"Security","TimeCreated":{"#attributes":{"SystemTime":"2026-01-02T03:04:05Z"}}},"EventData":{"Data":[{"@Name":"TargetSid","#text":"S-1-5-21-9"},{"@Name":"SubjectUserSid","#text":"S-1-5-21-1"}]}}}"##,
        "windows",
        "account.changed",
        &[("subject", "S-1-5-21-9"), ("state", "deleted")],
    ),
    (
        r#"{"class_uid":3006,"category_uid":3,"activity_id":4,"status_id":1,"time":1767323045000,"metadata":{"version":"1.3.0"},"user":{"uid":"u9"},"group":{"uid":"g1"},"actor":{"user":{"uid":"u1"}}}"#,
        "ocsf",
        "grant.changed",
        &[("grantee", "u9"), ("scope", "group:g1"), ("state", "revoked")],
    ),
    (
        r#"{"class_uid":6003,"category_uid":6,"activity_id":2,"status_id":1,"time":1767323045000,"metadata":{"version":"1.1.0"},"cloud":{"account":{"uid":"111122223333"}},"actor":{"user":{"uid":"u1"}},"api":{"operation":"GetObject","service":{"name":"s3.amazonaws.com"}}}"#,
        "ocsf",
        "data.accessed",
        &[("subject", "account:111122223333"), ("actor", "u1"), ("store", "s3.amazonaws.com")],
    ),
    (
        r#"{"@timestamp":1767323045000,"_document_id":"JFHcqd05l3Zf-AB2","action":"repo.add_member","actor":"alice","user":"bob","repo":"org/r","repo_id":7,"org":"org"}"#,
        "github-audit",
        "grant.changed",
        &[("grantee", "bob"), ("scope", "github-repository:7"), ("state", "granted")],
    ),
    (
        r#"{"action":"removed","member":{"login":"bob","id":2},"team":{"id":5,"slug":"t"},"organization":{"login":"org","id":3},"sender":{"login":"alice","type":"User"}}"#,
        "github-webhook",
        "grant.changed",
        &[("grantee", "bob"), ("scope", "github-team:5"), ("state", "revoked")],
    ),
];

#[test]
fn records_are_read_by_the_mapping_of_their_product() {
    let mapping = builtin(ALL);
    let catalogue = catalogue(&mapping);
    for (record, name, type_name, fields) in CASES {
        let mapped = one(&mapping, record);
        assert_eq!((&*mapped.mapping, mapped.event.type_name.as_str()), (name, type_name), "{record}");
        for (field, value) in fields {
            assert_eq!(data(&mapped, field), Some(*value), "{name} {field}: {record}");
        }
        assert!(!mapped.unmapped, "{record}");
        // Webhooks do not say when; every other product does.
        let dated = mapped.event.time_us == Some(1_767_323_045_000_000)
            || mapped.event.time_us.is_some_and(|us| us / 1_000_000 == 1_767_323_045);
        assert_eq!(dated, name != "github-webhook", "{name}: {:?}", mapped.event.time);
        split(&mapped.event, &catalogue).unwrap();
        // Forced, it says the same.
        assert_eq!(one(&builtin(name), record), mapped);
        let wrapped = format!("[{record}]");
        assert_eq!(one(&mapping, &wrapped), mapped, "in a list it is the same record");
    }
}

#[test]
fn envelopes_are_opened_whatever_they_hold_beside() {
    let mapping = builtin(ALL);
    let (kubernetes, okta) = (CASES[0].0, CASES[1].0);
    for (envelope, expected) in [
        (
            format!(
                "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{kubernetes}, {kubernetes}]}}"
            ),
            2,
        ),
        (format!("{{\"records\":[{}]}}", CASES[9].0), 1),
        (format!("{{\"@odata.context\":\"x\",\"value\":[{}]}}", CASES[10].0), 1),
        (format!("{{\"kind\":\"admin#reports#activities\",\"items\":[{}]}}", CASES[4].0), 1),
        (format!("{{\"entries\":[{}]}}", CASES[6].0), 1),
        (format!("[{kubernetes},{okta},{{\"unknown\":1}}]"), 3),
        (format!("[{{\"Records\":[]}},{{\"data\":{{\"events\":[{okta}]}}}}]"), 2),
    ] {
        let found = mapping.map_line(envelope.as_bytes());
        assert_eq!(found.len(), expected, "{envelope}");
        for mapped in found.into_iter().map(Result::unwrap) {
            let raw = mapped.event.raw.unwrap().bytes;
            assert!(contains(envelope.as_bytes(), &raw) && raw.len() < envelope.len(), "{envelope}");
        }
    }
    let mixed = mapping.map_line(format!("[{kubernetes},{okta},{{\"unknown\":1}}]").as_bytes());
    let names: Vec<_> = mixed.iter().map(|each| each.as_ref().unwrap().mapping.to_string()).collect();
    assert_eq!(names, ["kubernetes", "okta", "generic"]);
}

#[test]
fn records_are_found_within_what_carries_them() {
    let mapping = builtin(ALL);
    let okta = CASES[1].0;
    let text = serde_json::Value::from(okta).to_string();
    for carrier in [
        format!("{{\"sourcetype\":\"okta\",\"event\":{okta}}}"),
        format!("{{\"_index\":\"i\",\"_source\":{okta}}}"),
        format!("{{\"message\":{text},\"host\":\"h\"}}"),
        format!("{{\"log\":{text},\"stream\":\"stdout\"}}"),
    ] {
        let mapped = one(&mapping, &carrier);
        assert_eq!((&*mapped.mapping, data(&mapped, "subject")), ("okta", Some("00u2")), "{carrier}");
        assert_eq!(mapped.event.raw.unwrap().bytes, carrier.as_bytes(), "the whole line is kept");
    }
    let lookup = format!(
        "{{\"Events\":[{{\"EventId\":\"1\",\"CloudTrailEvent\":{}}}]}}",
        serde_json::Value::from(
            r#"{"eventSource":"s3.amazonaws.com","eventName":"GetObject","eventTime":"2026-11-21T09:00:00Z","recipientAccountId":"1","userIdentity":{"arn":"a"}}"#
        )
    );
    assert_eq!(one(&mapping, &lookup).event.type_name, "data.accessed");
}

#[test]
fn each_log_record_is_an_event_and_keeps_its_resource() {
    let mapping = builtin(ALL);
    let log = |n: u32| {
        format!(
            r#"{{"timeUnixNano":"176732304500000000{n}","severityText":"INFO","body":{{"stringValue":"s{n}"}},"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","attributes":[{{"key":"enduser.id","value":{{"stringValue":"alice"}}}}]}}"#
        )
    };
    let line = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"a"}}}}]}},"scopeLogs":[{{"logRecords":[{},{}]}}]}},{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#,
        log(1),
        log(2),
        log(3)
    );
    let found: Vec<_> = mapping.map_line(line.as_bytes()).into_iter().map(Result::unwrap).collect();
    assert_eq!(found.len(), 3);
    for mapped in &found {
        assert_eq!((&*mapped.mapping, data(mapped, "actor")), ("otlp", Some("alice")));
        let trace = mapped.event.attributes.get("traceparent").and_then(Value::as_str);
        assert_eq!(trace, Some("00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-00"));
        let raw = mapped.event.raw.clone().unwrap().bytes;
        assert_eq!(
            one(&mapping, std::str::from_utf8(&raw).unwrap()),
            *mapped,
            "alone it is the same event"
        );
    }
    let raw = String::from_utf8(found[1].event.raw.clone().unwrap().bytes).unwrap();
    assert!(raw.contains("service.name") && raw.contains("\"s2\"") && !raw.contains("\"s1\""), "{raw}");
    assert!(
        !String::from_utf8(found[2].event.raw.clone().unwrap().bytes).unwrap().contains("service.name")
    );
}

#[test]
fn a_personal_field_without_a_person_stays_in_the_attachment() {
    let mapping = builtin(ALL);
    let anonymous = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"Panic","verb":"get","sourceIPs":["192.0.2.7"]}"#;
    let mapped = one(&mapping, anonymous);
    assert_eq!((data(&mapped, "operation"), data(&mapped, "address")), (Some("get"), None));
    let generic = one(&builtin(GENERIC), r#"{"action":"bob left","n":1}"#);
    assert_eq!(data(&generic, "action"), None);
}

#[test]
fn an_explanation_names_paths_and_never_values() {
    let mapping = builtin(ALL);
    let explained = mapping.explain_line(CASES[1].0.as_bytes()).remove(0);
    let how = explained.how.unwrap();
    assert_eq!((&*how.mapping, how.within.as_deref()), ("okta", None));
    assert!(how.rule_line.is_some_and(|line| line > 20), "{how:?}");
    let read: Vec<_> =
        how.fields.iter().map(|field| (field.name.as_str(), field.path.as_deref())).collect();
    let expected = [("state", Some("eventType")), ("subject", Some("target[type=User].id"))];
    assert!(expected.iter().all(|each| read.contains(each)), "{read:?}");
    assert!(how.left.contains(&"actor.alternateId".to_owned()), "{:?}", how.left);
    assert!(
        how.accepted.iter().all(|condition| !condition.contains("example.com")),
        "{:?}",
        how.accepted
    );
}
