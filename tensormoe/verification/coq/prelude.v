From Coq Require Import List PeanoNat Lia Ring.
From Ltac2 Require Import Ltac2.
Set Default Proof Mode "Classic".
Import ListNotations.

Section Certificate.

(* I. WHAT IS MEANT. The theorems below speak of these definitions alone. *)

(* Any commutative semiring: numbers without subtraction and division. *)
Variables (R : Type) (zero one : R) (add mul : R -> R -> R).
Hypothesis laws : semi_ring_theory zero one add mul eq.
Infix "⊕" := add (at level 50, left associativity).
Infix "⊗" := mul (at level 40, left associativity).

Fixpoint sum (n : nat) (f : nat -> R) : R := match n with 0 => zero | S m => sum m f ⊕ f m end.
Notation "'Σ' i < n , f" := (sum n (fun i => f)) (at level 60, i name, n at level 35, right associativity).

(* An array has a shape, and an entry at each list of indices. *)
Record array := Array { shape : list nat; entry :> list nat -> R }.
Implicit Types A B : array.

(* [flat s i] is the place of the entry at [i] in memory, row by row; [unflat] is its inverse. *)
Fixpoint prod (s : list nat) : nat := match s with [] => 1 | [n] => n | n :: s => n * prod s end.
Fixpoint flat_after (k : nat) (s i : list nat) : nat :=
  match s, i with n :: s, j :: i => flat_after (k * n + j) s i | _, _ => k end.
Definition flat := flat_after 0.
Fixpoint unflat (s : list nat) (k : nat) : list nat :=
  match s with [] => [] | _ :: s => k / prod s :: unflat s (k mod prod s) end.

(* The operations, as NumPy has them; [_fits] says for which shapes each is defined. *)
Definition reshape s A := Array s (fun i => A (unflat (shape A) (flat s i))).
Definition reshape_fits s A := prod s = prod (shape A).

Fixpoint place (a : nat) (p : list nat) : nat :=
  match p with [] => 0 | b :: p => if a =? b then 0 else S (place a p) end.
Definition transpose p A :=
  Array (map (fun a => nth a (shape A) 0) p) (fun i => A (map (fun a => nth (place a p) i 0) (seq 0 (length p)))).
Definition transpose_fits p A := length p = length (shape A) /\ forall a, a < length (shape A) -> In a p.

(* The sum over axis [a]. *)
Definition total a A :=
  Array (firstn a (shape A) ++ skipn (S a) (shape A))
    (fun i => Σ k < nth a (shape A) 0, A (firstn a i ++ k :: skipn a i)).
Definition total_fits a A := a < length (shape A).

(* Matrix products over the last two axes. [affine] appends a 1 to each row of A. *)
Definition matmul A B :=
  Array (removelast (shape A) ++ [last (shape B) 0])
    (fun i => Σ k < last (shape A) 0, A (removelast i ++ [k]) ⊗ B (removelast (removelast i) ++ [k; last i 0])).
Definition matmul_fits A B := exists l n k m, shape A = l ++ [n; k] /\ shape B = l ++ [k; m].
Definition affine A B :=
  Array (shape (matmul A B))
    (fun i => matmul A B i ⊕ B (removelast (removelast i) ++ [last (shape A) 0; last i 0])).
Definition affine_fits A B := exists l n k m, shape A = l ++ [n; k] /\ shape B = l ++ [S k; m].

(* Element by element: axes of size 1 stretch, and so do missing leading axes. *)
Definition clip (n i : nat) : nat := match n with 1 => 0 | _ => i end.
Definition wide (n m : nat) : nat := match n with 1 => m | _ => n end.
Definition zip (f : nat -> nat -> nat) s t := map (fun '(n, m) => f n m) (combine s t).
Definition led (s t : list nat) := repeat 1 (length t - length s) ++ s.
Definition stretched s i := zip clip s (skipn (length i - length s) i).
Definition elementwise (f : R -> R -> R) A B :=
  Array (zip wide (led (shape A) (shape B)) (led (shape B) (shape A)))
    (fun i => f (A (stretched (shape A) i)) (B (stretched (shape B) i))).
Definition multiply := elementwise mul.
Definition plus := elementwise add.
Definition elementwise_fits A B :=
  Forall2 (fun n m => n = m \/ n = 1 \/ m = 1) (led (shape A) (shape B)) (led (shape B) (shape A)).

(* A nonlinearity of each element; times a second array; and a gradient carried back through it. *)
Definition pointwise (f : R -> R) A := Array (shape A) (fun i => f (A i)).
Definition pointwise_product (f : R -> R) := elementwise (fun a b => f a ⊗ b).
Definition pointwise_vjp (f' : R -> R) := elementwise (fun a g => g ⊗ f' a).

Definition zeros A := Array (shape A) (fun _ => zero).
Definition plus_one A := Array (shape A) (fun i => A i ⊕ one).
Definition put a k (i : list nat) := firstn a i ++ k :: skipn (S a) i.
Definition slice a start count A := Array (put a count (shape A)) (fun i => A (put a (start + nth a i 0) i)).
Definition slice_fits a start count A := a < length (shape A) /\ start + count <= nth a (shape A) 0.
Definition concatenate a A B :=
  Array (put a (nth a (shape A) 0 + nth a (shape B) 0) (shape A))
    (fun i => if nth a i 0 <? nth a (shape A) 0 then A i else B (put a (nth a i 0 - nth a (shape A) 0) i)).
Definition concatenate_fits a A B := a < length (shape A) /\ put a 0 (shape A) = put a 0 (shape B).

(* The input's row [b] of [n] entries, followed by a 1, which multiplies the bias. *)
Definition z n (x : list nat -> R) b i := if i <? n then x [b; i] else one.

(* II. WHAT FOLLOWS: lemmas and tactics. Coq checks them; a reader may skip them. *)

Add Ring semiring : laws.

Lemma sum_ext n f g : (forall i, i < n -> f i = g i) -> sum n f = sum n g.
Proof. induction n; cbn; intros E; [ring | rewrite IHn, (E n) by auto; ring]. Qed.
Lemma sum_one f : sum 1 f = f 0.
Proof. cbn. ring. Qed.
Lemma sum_zero n : sum n (fun _ => zero) = zero.
Proof. induction n; cbn; [| rewrite IHn]; ring. Qed.
Lemma sum_plus n f g : sum n f ⊕ sum n g = Σ i < n, f i ⊕ g i.
Proof. induction n; cbn; [| rewrite <- IHn]; ring. Qed.
Lemma sum_scale n f c : sum n f ⊗ c = Σ i < n, f i ⊗ c.
Proof. induction n; cbn; [| rewrite <- IHn]; ring. Qed.
Lemma sum_swap n m f : (Σ i < n, Σ j < m, f i j) = Σ j < m, Σ i < n, f i j.
Proof.
  induction n; cbn; [symmetry; apply sum_zero |]. rewrite IHn, sum_plus. apply sum_ext. reflexivity.
Qed.
Lemma sum_app n m f : sum (n + m) f = sum n f ⊕ Σ j < m, f (n + j).
Proof. induction m; cbn; [rewrite Nat.add_0_r | rewrite Nat.add_succ_r; cbn; rewrite IHm]; ring. Qed.
Lemma sum_merged n m f : sum (n * m) f = Σ i < n, Σ j < m, f (i * m + j).
Proof. induction n; [reflexivity |]. rewrite Nat.mul_succ_l, sum_app, IHn. reflexivity. Qed.

(* A change of the input changes nothing in the row of the bias. *)
Definition pad n (d : list nat -> R) b i := if i <? n then d [b; i] else zero.
Lemma sum_pad n b d f : (Σ i < n, f i ⊗ d [b; i]) = Σ i < S n, f i ⊗ pad n d b i.
Proof.
  unfold pad. cbn [sum]. rewrite Nat.ltb_irrefl.
  transitivity ((Σ i < n, f i ⊗ d [b; i]) ⊕ zero); [ring | f_equal; [| ring]].
  apply sum_ext. intros i H. apply Nat.ltb_lt in H. now rewrite H.
Qed.
Lemma parts_of_z n x d b i : z n (fun j => x j ⊕ d j) b i = z n x b i ⊕ pad n d b i.
Proof. unfold z, pad. destruct (i <? n); ring. Qed.

Load decision.
Load reading.
Ltac low H := unfold z; rewrite (proj2 (Nat.ltb_lt _ _) H); by_laws.
Ltac first_row := unfold z; cbn [Nat.ltb Nat.leb]; by_laws.
Ltac last_row := unfold z; rewrite Nat.ltb_irrefl; by_laws.

(* Where a program adds the row of the bias itself, the sum over all rows is cut in two. *)
Lemma sum_rows n x b f : (Σ i < S n, f i ⊗ z n x b i) = (Σ i < n, f i ⊗ x [b; i]) ⊕ f n.
Proof.
  cbn [sum]. unfold z. rewrite Nat.ltb_irrefl. f_equal; [| ring].
  apply sum_ext. intros i H. apply Nat.ltb_lt in H. now rewrite H.
Qed.
Lemma sum_two_rows x b f : (Σ i < 2, f i ⊗ z 1 x b i) = f 0 ⊗ x [b; 0] ⊕ f 1.
Proof. rewrite sum_rows. cbn. ring. Qed.
Ltac cut_rows :=
  cbv beta;
  lazymatch goal with
  | |- (Σ i < _, _ ⊗ z 1 _ _ i) = _ => apply sum_two_rows
  | |- (Σ i < _, _ ⊗ z _ _ _ i) = _ => apply sum_rows
  | |- sum _ _ = _ => apply sum_ext; intros ? ?; cut_rows
  | |- _ ⊕ _ = _ => apply (f_equal2 add); cut_rows
  | |- _ => reflexivity
  end.
Ltac by_rows := eapply eq_trans; [| symmetry; cut_rows]; by_laws.

(* Axes that are merged indices: [g] lists the sizes of the indices of each axis. *)
Fixpoint merged (g : list (list nat)) (i : list nat) : list nat :=
  match g with [] => [] | s :: g => flat s (firstn (length s) i) :: merged g (skipn (length s) i) end.

Lemma prod_cons n s : prod (n :: s) = n * prod s.
Proof. destruct s; cbn; lia. Qed.
Lemma prod_app s t : prod (s ++ t) = prod s * prod t.
Proof. induction s; [cbn; lia |]. rewrite <- app_comm_cons, !prod_cons, IHs. lia. Qed.
Lemma prod_concat g : prod (map prod g) = prod (concat g).
Proof. induction g; [reflexivity |]. cbn [map concat]. now rewrite prod_cons, prod_app, IHg. Qed.
Lemma flat_after_flat s : forall k i, length i = length s -> flat_after k s i = k * prod s + flat s i.
Proof.
  induction s as [| n s IH]; intros k [| j i]; try discriminate; [cbn; lia |].
  intros [= E]. rewrite prod_cons. unfold flat. cbn [flat_after]. rewrite !(IH _ i E). unfold flat. nia.
Qed.
Lemma flat_cons n s j i : length i = length s -> flat (n :: s) (j :: i) = j * prod s + flat s i.
Proof. intros E. unfold flat at 1. cbn [flat_after]. rewrite flat_after_flat by easy. lia. Qed.
Lemma flat_app s t j : length j = length t -> forall i, length i = length s ->
  flat (s ++ t) (i ++ j) = flat s i * prod t + flat t j.
Proof.
  intros E. induction s as [| n s IH]; intros [| a i]; try discriminate; [reflexivity |]. intros [= F].
  assert (G : length (i ++ j) = length (s ++ t)) by (clear IH; revert s F; induction i; intros []; cbn; auto; discriminate).
  cbn [app]. rewrite (flat_cons _ _ _ _ G), (flat_cons _ _ _ _ F), (IH _ F), prod_app. lia.
Qed.
Lemma lt_length (i s : list nat) : Forall2 lt i s -> length i = length s.
Proof. induction 1; cbn; congruence. Qed.
Lemma flat_lt s i : Forall2 lt i s -> flat s i < prod s.
Proof.
  induction 1 as [| j n i s H F IH]; [cbn; lia |]. rewrite flat_cons, prod_cons by now apply lt_length. nia.
Qed.
Lemma unflat_flat s i : Forall2 lt i s -> unflat s (flat s i) = i.
Proof.
  induction 1 as [| j n i s H F IH]; [reflexivity |].
  pose proof (flat_lt _ _ F). rewrite flat_cons by now apply lt_length. cbn [unflat].
  rewrite <- (Nat.div_unique _ _ j (flat s i)), <- (Nat.mod_unique _ _ j (flat s i)), IH by lia. reflexivity.
Qed.
Lemma split_lt (s t : list nat) : forall i, Forall2 lt i (s ++ t) ->
  Forall2 lt (firstn (length s) i) s /\ Forall2 lt (skipn (length s) i) t.
Proof.
  induction s as [| n s IH]; intros i F; [split; [constructor | exact F] |].
  inversion F as [| j m k l H G]; subst. destruct (IH _ G). now repeat constructor.
Qed.
Lemma merged_lt g : forall i, Forall2 lt i (concat g) -> Forall2 lt (merged g i) (map prod g).
Proof.
  induction g as [| s g IH]; intros i F; [constructor |].
  destruct (split_lt _ _ _ F). constructor; [now apply flat_lt | now apply IH].
Qed.
Lemma flat_merged g : forall i, Forall2 lt i (concat g) -> flat (map prod g) (merged g i) = flat (concat g) i.
Proof.
  induction g as [| s g IH]; intros i F; [now inversion F |]. destruct (split_lt _ _ _ F) as [F1 F2].
  cbn [map concat merged]. rewrite flat_cons, IH, prod_concat by (trivial; now apply lt_length, merged_lt).
  rewrite <- (firstn_skipn (length s) i) at 3. now rewrite flat_app by now apply lt_length.
Qed.

(* The sum over an axis is the sum over its indices. *)
Fixpoint sums (s : list nat) (f : list nat -> R) : R :=
  match s with [] => f [] | n :: s => Σ i < n, sums s (fun j => f (i :: j)) end.
Lemma sums_ext s : forall f g, (forall i, length i = length s -> f i = g i) -> sums s f = sums s g.
Proof.
  induction s; cbn; intros f g E; [now apply E |]. apply sum_ext. intros. apply IHs. intros. apply E. cbn. now f_equal.
Qed.
Lemma sum_axis s : forall f, sum (prod s) f = sums s (fun i => f (flat s i)).
Proof.
  induction s as [| n s IH]; intros f; [cbn; ring |]. rewrite prod_cons, sum_merged. cbn [sums].
  apply sum_ext. intros j _. rewrite (IH (fun k => f (j * prod s + k))).
  apply sums_ext. intros. now rewrite flat_cons.
Qed.

(* The entries of what each operation gives. *)
Lemma reshape_entry g h A k i j : shape A = map prod g -> concat g = concat h -> Forall2 lt k (concat h) ->
  i = merged h k -> j = merged g k -> reshape (map prod h) A i = A j.
Proof.
  intros E C F -> ->. cbn. rewrite E, flat_merged, <- C, <- flat_merged, unflat_flat; rewrite ?C; trivial.
  apply merged_lt. now rewrite C.
Qed.
Lemma reshape_fitting g h A : shape A = map prod g -> concat g = concat h -> reshape_fits (map prod h) A.
Proof. unfold reshape_fits. intros -> E. now rewrite !prod_concat, E. Qed.
Lemma transpose_entry p A i j : j = map (fun a => nth (place a p) i 0) (seq 0 (length p)) -> transpose p A i = A j.
Proof. now intros ->. Qed.
Lemma total_entry a A s g i : shape A = s -> nth a s 0 = prod g ->
  total a A i = sums g (fun k => A (firstn a i ++ flat g k :: skipn a i)).
Proof. intros <- E. cbn. rewrite E. apply sum_axis with (f := fun k => A (firstn a i ++ k :: skipn a i)). Qed.
Lemma matmul_entry A B s g i : shape A = s -> last s 0 = prod g -> matmul A B i =
  sums g (fun k => A (removelast i ++ [flat g k]) ⊗ B (removelast (removelast i) ++ [flat g k; last i 0])).
Proof.
  intros <- E. cbn. rewrite E.
  apply sum_axis with (f := fun k => A (removelast i ++ [k]) ⊗ B (removelast (removelast i) ++ [k; last i 0])).
Qed.
Lemma affine_entry A B s n i : shape A = s -> last s 0 = n -> affine A B i =
  Σ k < S n, (if k <? n then A (removelast i ++ [k]) else one) ⊗ B (removelast (removelast i) ++ [k; last i 0]).
Proof.
  intros <- <-. cbn [affine matmul entry sum]. rewrite Nat.ltb_irrefl. f_equal; [| ring].
  apply sum_ext. intros k H. apply Nat.ltb_lt in H. now rewrite H.
Qed.
Lemma if_lt k n (f g h : R) : (k < n -> f = g) -> (if k <? n then f else h) = if k <? n then g else h.
Proof. destruct (Nat.ltb_spec k n); auto. Qed.
Lemma elementwise_entry f A B s t i : shape A = s -> shape B = t ->
  elementwise f A B i = f (A (stretched s i)) (B (stretched t i)).
Proof. now intros <- <-. Qed.
Lemma slice_entry a start count A i j : j = put a (start + nth a i 0) i -> slice a start count A i = A j.
Proof. now intros ->. Qed.
Lemma concatenate_entry a A B s i : shape A = s -> concatenate a A B i =
  if nth a i 0 <? nth a s 0 then A i else B (put a (nth a i 0 - nth a s 0) i).
Proof. now intros <-. Qed.

Lemma clip_lt n i : i < n -> clip n i = i.
Proof. destruct n as [| [|]]; cbn; lia. Qed.
Lemma merge_lt n m i j : i < n -> j < m -> i * m + j < n * m.
Proof. nia. Qed.
Lemma wide_same n : wide n n = n.
Proof. destruct n as [| [|]]; reflexivity. Qed.
Lemma wide_one n : wide n 1 = n.
Proof. destruct n as [| [|]]; reflexivity. Qed.
Ltac stretch :=
  unfold stretched, zip; cbn [length Nat.sub skipn combine map];
  repeat match goal with |- context [clip 1 ?i] => change (clip 1 i) with 0 end;
  rewrite ?clip_lt by first [assumption | rewrite ?Nat.mul_assoc; repeat apply merge_lt; assumption].
Ltac shapes E := lazymatch E with (?E, ?F) => rewrite ?E, ?F | _ => rewrite ?E end.
Ltac shape_of E :=
  unfold transpose, total, reshape, zeros, plus_one, pointwise, pointwise_product,
    pointwise_vjp, slice, multiply, plus, elementwise, affine, matmul, concatenate;
  cbn [shape]; shapes E; cbn -[Nat.add Nat.mul wide]; rewrite ?wide_same, ?wide_one, ?Nat.add_1_r; reflexivity.
Ltac fits E :=
  unfold transpose_fits, total_fits, elementwise_fits, slice_fits, concatenate_fits; shapes E;
  cbn -[Nat.add Nat.mul]; repeat split; try lia; repeat first [apply Forall2_cons; [auto |] | apply Forall2_nil].

(* III. THE LAYER. *)
