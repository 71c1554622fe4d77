(* Places that are chosen: J [b; j] is the j-th for the input b. Any are, but those of one input differ. *)
(* What stands at the places along the last axis, and the reverse: entries at their places, and 0 elsewhere. *)
Definition take_at (J : list nat -> nat) k A := Array [nth 0 (shape A) 0; k] (fun i => A [nth 0 i 0; J i]).
Definition take_at_fits (J : list nat -> nat) k A :=
  length (shape A) = 2 /\ forall b j, b < nth 0 (shape A) 0 -> j < k -> J [b; j] < nth 1 (shape A) 0.
Definition put_back (J : list nat -> nat) A G :=
  Array (shape A) (fun i => Σ j < nth 1 (shape G) 0, same (J [nth 0 i 0; j]) (nth 1 i 0) ⊗ G [nth 0 i 0; j]).
Definition put_back_fits (J : list nat -> nat) A G :=
  length (shape A) = 2 /\ length (shape G) = 2 /\ nth 0 (shape A) 0 = nth 0 (shape G) 0.

(* An array at places of some axes, for each of [n] inputs: the inputs, one axis for each of these, the others. *)
Fixpoint weave (axes chosen rest : list nat) (a n : nat) : list nat :=
  match n with
  | 0 => []
  | S n => if existsb (Nat.eqb a) axes
    then hd 0 chosen :: weave axes (tl chosen) rest (S a) n
    else hd 0 rest :: weave axes chosen (tl rest) (S a) n
  end.
Definition others (axes s : list nat) :=
  map (fun a => nth a s 0) (filter (fun a => negb (existsb (Nat.eqb a) axes)) (seq 0 (length s))).
Definition at_places (Js : list (list nat -> nat)) b (j : list nat) := map (fun '(J, j) => J [b; j]) (combine Js j).
Definition gather axes (Js : list (list nat -> nat)) n ks A :=
  Array (n :: ks ++ others axes (shape A))
    (fun i => let j := firstn (length ks) (tl i) in
      A (weave axes (at_places Js (hd 0 i) j) (skipn (length ks) (tl i)) 0 (length (shape A)))).
Definition gather_fits axes (Js : list (list nat -> nat)) n (ks : list nat) A :=
  Forall2 (fun a '(J, k) => forall b j, b < n -> j < k -> J [b; j] < nth a (shape A) 0) axes (combine Js ks).
(* The reverse: what was read at a place is added there. *)
Fixpoint marks (p i : list nat) : R := match p, i with j :: p, k :: i => same j k ⊗ marks p i | _, _ => one end.
Definition scatter axes Js A G :=
  Array (shape A)
    (fun i => Σ b < hd 0 (shape G),
      sums (firstn (length axes) (tl (shape G)))
        (fun j => marks (at_places Js b j) (map (fun a => nth a i 0) axes) ⊗ G (b :: j ++ others axes i))).
Definition scatter_fits axes (Js : list (list nat -> nat)) A G :=
  tl (shape G) = firstn (length axes) (tl (shape G)) ++ others axes (shape A).

(* What follows: lemmas. *)
Lemma take_at_entry J k A i j : j = [nth 0 i 0; J i] -> take_at J k A i = A j.
Proof. now intros ->. Qed.
Lemma put_back_entry J A G s i : shape G = s ->
  put_back J A G i = Σ j < nth 1 s 0, same (J [nth 0 i 0; j]) (nth 1 i 0) ⊗ G [nth 0 i 0; j].
Proof. now intros <-. Qed.
Lemma gather_entry axes Js n ks A s i j : shape A = s ->
  j = weave axes (at_places Js (hd 0 i) (firstn (length ks) (tl i))) (skipn (length ks) (tl i)) 0 (length s) ->
  gather axes Js n ks A i = A j.
Proof. now intros <- ->. Qed.
Lemma scatter_entry axes Js A G s i : shape G = s ->
  scatter axes Js A G i = Σ b < hd 0 s, sums (firstn (length axes) (tl s))
    (fun j => marks (at_places Js b j) (map (fun a => nth a i 0) axes) ⊗ G (b :: j ++ others axes i)).
Proof. now intros <-. Qed.
Lemma sum_chosen n k (J : nat -> nat) f :
  (forall j, j < k -> J j < n) -> (forall j l, j < k -> l < k -> J j = J l -> j = l) ->
  (forall i, i < n -> (forall j, j < k -> J j <> i) -> f i = zero) -> sum n f = Σ j < k, f (J j).
Proof.
  intros B D V. transitivity (Σ i < n, (Σ j < k, same (J j) i) ⊗ f i).
  - apply sum_ext. intros i H.
    assert (C : forall m, m <= k -> (exists j, j < m /\ J j = i /\ (Σ j < m, same (J j) i) = one) \/
      ((forall j, j < m -> J j <> i) /\ (Σ j < m, same (J j) i) = zero)).
    { induction m as [| m IH]; intros L; [right; split; [lia | reflexivity] |]. cbn [sum].
      destruct (Nat.eq_dec (J m) i) as [E | E].
      - destruct IH as [(j & Hj & F & _) | [_ ->]]; [lia | |].
        + assert (j = m) by (apply D; [lia | lia | now rewrite F]). lia.
        + left. exists m. repeat split; [lia | exact E |]. unfold same. rewrite (proj2 (Nat.eqb_eq _ _) E). ring.
      - unfold same at 2 4. rewrite (proj2 (Nat.eqb_neq _ _) E).
        destruct IH as [(j & Hj & F & ->) | [N ->]]; [lia | |].
        + left. exists j. repeat split; [lia | exact F | ring].
        + right. split; [| ring]. intros j Hj. destruct (Nat.eq_dec j m) as [-> | G]; [exact E | apply N; lia]. }
    destruct (C k (le_n k)) as [(j & _ & _ & ->) | [N ->]]; [ring | rewrite (V i H N); ring].
  - transitivity (Σ i < n, Σ j < k, same (J j) i ⊗ f i); [apply sum_ext; intros; apply sum_scale |].
    rewrite sum_swap. apply sum_ext. intros j H. symmetry. apply one_of. now apply B.
Qed.
Lemma sum_put n k (J : nat -> nat) g f : (forall j, j < k -> J j < n) ->
  (Σ i < n, (Σ j < k, same (J j) i ⊗ g j) ⊗ f i) = Σ j < k, g j ⊗ f (J j).
Proof.
  intros B. transitivity (Σ i < n, Σ j < k, same (J j) i ⊗ g j ⊗ f i); [apply sum_ext; intros; apply sum_scale |].
  rewrite sum_swap. apply sum_ext. intros j H. rewrite (one_of n (J j) (fun i => g j ⊗ f i) (B j H)).
  apply sum_ext. intros. ring.
Qed.
Ltac vanishes E :=
  lazymatch goal with
  | |- sum ?m _ = zero =>
      transitivity (sum m (fun _ => zero)); [apply sum_ext; intros ? ?; cbv beta; vanishes E | apply sum_zero]
  | |- _ => rewrite E by assumption; ring
  end.
