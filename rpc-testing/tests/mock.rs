//! A mock that streams are answered by.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rpc_core::{Code, Status};
use rpc_testing::Mock;
use support::talk::TalkClient;
use support::{Note, note};

fn numbered(number: u64) -> Note {
    Note {
        number,
        text: String::new(),
    }
}

#[test]
fn a_mock_answers_streams_as_the_test_says() {
    let sums = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&sums);
    let mock = Mock::new()
        .on_client_stream("/test.Talk/Sum", move |_, notes: Vec<Note>| {
            count.fetch_add(notes.len(), Ordering::SeqCst);
            Ok(numbered(notes.iter().map(|note| note.number).sum()))
        })
        .on_server_stream("/test.Talk/Count", |_, upto: Note| {
            Ok((0..upto.number).map(numbered))
        })
        .on_duplex("/test.Talk/Chat", |cx, said: Note| {
            cx.reply_metadata("app-heard", said.text.clone());
            match &said.text[..] {
                "" => Err(Status::invalid_argument("nothing was said")),
                _ => Ok([said.clone(), said]),
            }
        });
    let client = TalkClient::new(mock.clone());

    let mut upload = client.sum().open().wait().unwrap();
    for number in 0..3_000 {
        upload.send(numbered(number)).wait().unwrap();
    }
    assert_eq!(upload.finish().wait().unwrap(), numbered(4_498_500));
    assert_eq!(sums.load(Ordering::SeqCst), 3_000);

    let mut inbound = client.count(numbered(3_000)).open().wait().unwrap();
    assert_eq!(inbound.messages().flatten().count(), 3_000);

    let (mut outbound, mut inbound) = client.chat().open().wait().unwrap();
    outbound.send(note("hello")).wait().unwrap();
    for _ in 0..2 {
        assert_eq!(inbound.next().wait().unwrap(), Some(note("hello")));
    }
    outbound.send(note("")).wait().unwrap();
    assert_eq!(
        inbound.next().wait().unwrap_err().code(),
        Code::InvalidArgument
    );

    assert_eq!(mock.received::<Note>("/test.Talk/Count"), [numbered(3_000)]);
    assert_eq!(
        mock.received::<Note>("/test.Talk/Chat"),
        [note("hello"), note("")]
    );
    assert_eq!(mock.received::<Note>("/test.Talk/Sum").len(), 3_000);
    let status = TalkClient::new(Mock::new())
        .chat()
        .open()
        .wait()
        .unwrap_err();
    assert_eq!(status.code(), Code::NoMethod);
}
